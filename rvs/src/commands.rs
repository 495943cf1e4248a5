//! The commands that ask a running director: from words to requests, from answers to text.

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::anyhow;
use rvs_config::{ServiceKey, Timeouts};
use rvs_control::client::Method;
use rvs_control::client::{Client, ClientError, Reply};
use rvs_control::wire;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::{Ask, Server, Service, Switch};
use crate::selection::Selection;
use crate::settings;
use crate::show::{self, Form};

/// Does a command and prints what it says.
pub(crate) fn run(command: &Ask, selection: &Selection, form: Form) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = selection.client();
    let mut out = io::stdout().lock();
    match runtime.block_on(answer(command, &client, form, &mut out)) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever reads our output has seen enough.
        Err(ClientError::Reader(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(anyhow!(explain(&error))),
    }
}

/// The path of a service.
pub(crate) fn service_path(key: ServiceKey) -> String {
    format!("/v1/services/{}", key.to_string().replacen("://", "/", 1))
}

/// The path of a server, which may be written without its port.
pub(crate) fn server_path(key: ServiceKey, server: &str) -> String {
    format!("{}/servers/{}", service_path(key), escaped(server))
}

/// An error with what to do about it.
pub(crate) fn explain(error: &ClientError) -> String {
    match error {
        ClientError::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            error.to_string()
        }
        ClientError::Connect { socket, .. } => {
            let default = socket.parent() == Some("/run/rvs".as_ref());
            let instance = socket.file_stem().map(|stem| stem.to_string_lossy());
            let options = match instance {
                Some(instance) if default && instance == "default" => String::new(),
                Some(instance) if default => format!(" --instance {instance}"),
                Some(_) | None => format!(" --socket {}", socket.display()),
            };
            format!("{error}; start one with: rvs run{options}")
        }
        ClientError::Refused(_)
        | ClientError::Silent(_)
        | ClientError::Strange(_)
        | ClientError::Body(_)
        | ClientError::Http(_)
        | ClientError::Request(_)
        | ClientError::Reader(_) => error.to_string(),
    }
}

/// Does a command and writes what it says.
async fn answer(
    command: &Ask,
    client: &Client,
    form: Form,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    match command {
        Ask::Status => view(client, "/v1/status", form, out, show::status).await,
        Ask::Services => {
            view(client, "/v1/services", form, out, |services: &Vec<_>| {
                show::services(services)
            })
            .await
        }
        Ask::Servers { service: None } => {
            view(client, "/v1/services", form, out, |services: &Vec<_>| {
                show::servers(services)
            })
            .await
        }
        Ask::Servers {
            service: Some(service),
        } => {
            let path = service_path(find(client, service).await?);
            view(client, &path, form, out, |service| {
                show::servers(std::slice::from_ref(service))
            })
            .await
        }
        Ask::Connections { limit, service } => {
            connections(client, *limit, service.as_deref(), form, out).await
        }
        Ask::Stats { all } => stats(client, *all, form, out).await,
        Ask::Events { follow } => events(client, *follow, form, out).await,
        Ask::Service(command) => {
            change(client, service_request(client, command).await?, form, out).await
        }
        Ask::Server(command) => {
            change(client, server_request(client, command).await?, form, out).await
        }
        Ask::Zero { service } => {
            let path = match service {
                Some(service) => format!("{}/zero", service_path(find(client, service).await?)),
                None => "/v1/zero".to_owned(),
            };
            change(client, (Method::POST, path, None), form, out).await
        }
        Ask::Timeouts { settings } => {
            let body = (!settings.is_empty()).then(|| settings::timeouts_patch(settings));
            let show = |timeouts: &Timeouts| show::timeouts(timeouts);
            set_or_view(client, "/v1/timeouts", body, form, out, show).await
        }
        Ask::Knobs { settings } => {
            let body = (!settings.is_empty()).then(|| settings::knobs_patch(settings));
            set_or_view(client, "/v1/knobs", body, form, out, show::knobs).await
        }
        Ask::Scheduling { state } => {
            let body = json!(wire::Scheduling {
                on: *state == Switch::On,
            });
            let path = "/v1/scheduling".to_owned();
            change(client, (Method::PUT, path, Some(body)), form, out).await
        }
        Ask::Reload => {
            let reply = client.call(Method::POST, "/v1/reload", None::<&()>).await?;
            let text = |done: &wire::Done| match done.changes {
                0 => "reloaded: nothing to change\n".to_owned(),
                1 => "reloaded: 1 change\n".to_owned(),
                n => format!("reloaded: {n} changes\n"),
            };
            print(&reply, form, out, text)
        }
        Ask::Stop {
            stop_forwarding,
            keep_forwarding,
        } => {
            let keep = keep_forwarding.then_some(wire::Forwarding::Keep);
            let stop = wire::Stop {
                forwarding: stop_forwarding.then_some(wire::Forwarding::Stop).or(keep),
            };
            let body = Some(json!(stop));
            change(
                client,
                (Method::POST, "/v1/stop".to_owned(), body),
                form,
                out,
            )
            .await
        }
    }
}

type RequestParts = (Method, String, Option<Value>);

async fn service_request(client: &Client, command: &Service) -> Result<RequestParts, ClientError> {
    Ok(match command {
        Service::Add {
            address,
            name,
            method,
            servers,
            options,
        } => {
            let servers: Vec<Value> = servers
                .iter()
                .map(|server| json!({ "address": server }))
                .collect();
            let mut body = json!({});
            // What is null is left out.
            wire::merge(&mut body, Value::Object(settings::service_patch(options)));
            if let Some(body) = body.as_object_mut() {
                body.insert("address".to_owned(), json!(address));
                body.insert("method".to_owned(), json!(method));
                body.insert("servers".to_owned(), json!(servers));
                if let Some(name) = name {
                    body.insert("name".to_owned(), json!(name));
                }
            }
            (Method::POST, "/v1/services".to_owned(), Some(body))
        }
        Service::Set { service, options } => {
            let body = settings::service_patch(options);
            if body.is_empty() {
                return Err(nothing_to_change());
            }
            let path = service_path(find(client, service).await?);
            (Method::PATCH, path, Some(Value::Object(body)))
        }
        Service::Remove { service } => {
            let path = service_path(find(client, service).await?);
            (Method::DELETE, path, None)
        }
    })
}

async fn server_request(client: &Client, command: &Server) -> Result<RequestParts, ClientError> {
    Ok(match command {
        Server::Add {
            service,
            server,
            method,
            options,
        } => {
            let path = service_path(find(client, service).await?);
            let method = match method {
                Some(method) => *method,
                // Who names a kind of tunnel means a tunnel.
                None if options.tunnel.is_some() => rvs_config::Method::Tunnel,
                None => usual_method(&client.get(&path).await?),
            };
            let mut body = json!(settings::server_change(Some(method), *options));
            if let Some(body) = body.as_object_mut() {
                body.insert("address".to_owned(), json!(server));
            }
            (Method::POST, format!("{path}/servers"), Some(body))
        }
        Server::Set {
            service,
            server,
            method,
            options,
        } => {
            let change = settings::server_change(*method, *options);
            if change == wire::ServerChange::default() {
                return Err(nothing_to_change());
            }
            let path = server_path(find(client, service).await?, server);
            (Method::PATCH, path, Some(json!(change)))
        }
        Server::Drain { service, server } => {
            let path = server_path(find(client, service).await?, server);
            (Method::PUT, format!("{path}/drain"), None)
        }
        Server::Remove { service, server } => {
            let path = server_path(find(client, service).await?, server);
            (Method::DELETE, path, None)
        }
    })
}

fn nothing_to_change() -> ClientError {
    ClientError::Refused(wire::Refusal {
        error: "nothing to change: name an option (--help shows them)".to_owned(),
        code: wire::Code::Invalid,
    })
}

/// The method that all servers of a service have, if they agree.
fn usual_method(service: &wire::Service) -> rvs_config::Method {
    let mut methods = service.servers.iter().map(|server| server.method);
    match methods.next() {
        Some(first) if methods.all(|method| method == first) => first,
        Some(_) | None => rvs_config::Method::default(),
    }
}

/// The service that is meant by an address or a name.
async fn find(client: &Client, text: &str) -> Result<ServiceKey, ClientError> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let services: Vec<wire::Service> = client.get("/v1/services").await?;
    services
        .iter()
        .find(|service| service.name.as_deref() == Some(text))
        .map(|service| service.address)
        .ok_or_else(|| {
            ClientError::Refused(wire::Refusal {
                error: format!(
                    "no service {text:?}: neither a name nor an address like tcp://10.0.0.100:80"
                ),
                code: wire::Code::NoSuchService,
            })
        })
}

/// Asks for a change, and says nothing if it was made, unless JSON is wanted.
async fn change(
    client: &Client,
    (method, path, body): RequestParts,
    form: Form,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    let reply = client.call(method, &path, body.as_ref()).await?;
    print(&reply, form, out, |_: &Value| String::new())
}

/// Changes something and says nothing, or shows it.
async fn set_or_view<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    body: Option<Value>,
    form: Form,
    out: &mut impl Write,
    text: impl Fn(&T) -> String,
) -> Result<(), ClientError> {
    match body {
        None => view(client, path, form, out, text).await,
        body => {
            let request = (Method::PATCH, path.to_owned(), body);
            change(client, request, form, out).await
        }
    }
}

/// Asks for a document and shows it.
async fn view<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    form: Form,
    out: &mut impl Write,
    text: impl Fn(&T) -> String,
) -> Result<(), ClientError> {
    let reply = client.call(Method::GET, path, None::<&()>).await?;
    print(&reply, form, out, text)
}

fn print<T: DeserializeOwned>(
    reply: &Reply,
    form: Form,
    out: &mut impl Write,
    text: impl Fn(&T) -> String,
) -> Result<(), ClientError> {
    match form {
        Form::Json => {
            out.write_all(&reply.body)?;
            out.write_all(b"\n")?;
        }
        Form::Text => {
            let document = serde_json::from_slice(&reply.body).map_err(ClientError::Body)?;
            out.write_all(text(&document).as_bytes())?;
        }
    }
    Ok(out.flush()?)
}

async fn connections(
    client: &Client,
    limit: usize,
    service: Option<&str>,
    form: Form,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    let mut path = format!("/v1/connections?limit={limit}");
    if let Some(service) = service {
        let key = find(client, service).await?;
        path.push_str(&format!("&service={}", escaped(&key.to_string())));
    }
    view(client, &path, form, out, show::connections).await
}

async fn stats(
    client: &Client,
    all: bool,
    form: Form,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    let mut counters: Vec<wire::Counter> = client.get("/v1/counters").await?;
    let services: Vec<wire::Service> = client.get("/v1/services").await?;
    match form {
        Form::Json => {
            #[derive(Serialize)]
            struct Both<'a> {
                counters: &'a [wire::Counter],
                services: &'a [wire::Service],
            }
            let both = Both {
                counters: &counters,
                services: &services,
            };
            let text = serde_json::to_string(&both).map_err(ClientError::Body)?;
            writeln!(out, "{text}")?;
        }
        Form::Text => {
            counters.retain(|counter| all || counter.value > 0);
            out.write_all(show::stats(&services).as_bytes())?;
            if !counters.is_empty() {
                writeln!(out)?;
                out.write_all(show::counters(&counters).as_bytes())?;
            }
        }
    }
    Ok(out.flush()?)
}

async fn events(
    client: &Client,
    follow: bool,
    form: Form,
    out: &mut impl Write,
) -> Result<(), ClientError> {
    if !follow {
        return view(client, "/v1/events", form, out, |events: &Vec<Value>| {
            events.iter().map(show::event).collect()
        })
        .await;
    }
    client
        .lines("/v1/events?follow=true", |line| {
            match form {
                Form::Json => {
                    out.write_all(line)?;
                    out.write_all(b"\n")?;
                }
                Form::Text => {
                    let event: Value = serde_json::from_slice(line).map_err(ClientError::Body)?;
                    out.write_all(show::event(&event).as_bytes())?;
                }
            }
            Ok(out.flush()?)
        })
        .await
}

/// Text as part of a URL.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' | b'~' | b':' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
