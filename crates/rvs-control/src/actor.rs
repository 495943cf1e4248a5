//! The one thread that owns the director. Everybody else asks it, one question after the other.

use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::director::Director;
use crate::forwarding::Forwarding;

/// How many questions may wait.
const QUEUE: usize = 64;

enum Message {
    Question(Box<dyn FnOnce(&mut Director) + Send>),
    End,
}

/// A way to ask the director.
#[derive(Clone)]
pub struct Handle(mpsc::Sender<Message>);

/// The director's thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the director is stopping")]
pub struct Gone;

impl Handle {
    /// Lets the director answer.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Director) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (answer, answered) = oneshot::channel();
        let question = Message::Question(Box::new(move |director| {
            // Whoever asked may have left.
            let _ = answer.send(question(director));
        }));
        self.0.send(question).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Lets the director do something when its turn comes. Does not wait; says whether it will be done.
    pub fn tell(&self, order: impl FnOnce(&mut Director) + Send + 'static) -> bool {
        self.0.try_send(Message::Question(Box::new(order))).is_ok()
    }

    /// Ends the thread once all earlier questions are answered. Later ones find it gone.
    pub async fn end(&self) {
        // One that has ended already need not be told.
        let _ = self.0.send(Message::End).await;
    }
}

/// Gives the director a thread. The thread ends, and hands back the data plane, when told to or when the last handle is
/// dropped.
pub fn spawn(mut director: Director) -> std::io::Result<(Handle, JoinHandle<Box<dyn Forwarding>>)> {
    let (questions, mut asked) = mpsc::channel::<Message>(QUEUE);
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let thread = std::thread::Builder::new()
        .name("director".to_owned())
        .spawn(move || {
            // After how long the director wants to do something unasked.
            let mut due = director.publish_due();
            while let Some(message) = next(&clock, &mut asked, due) {
                match message {
                    Some(Message::Question(question)) => {
                        director.set_now(SystemTime::now());
                        question(&mut director);
                    }
                    Some(Message::End) => break,
                    None => {}
                }
                due = director.publish_due();
            }
            director.into_forwarding()
        })?;
    Ok((Handle(questions), thread))
}

/// The next message, `Some(None)` if none came in time, or `None` when nobody can ask any more.
fn next(
    clock: &Runtime,
    asked: &mut mpsc::Receiver<Message>,
    due: Option<Duration>,
) -> Option<Option<Message>> {
    let Some(due) = due else {
        return asked.blocking_recv().map(Some);
    };
    match clock.block_on(async { tokio::time::timeout(due, asked.recv()).await }) {
        Ok(message) => message.map(Some),
        Err(_) => Some(None),
    }
}
