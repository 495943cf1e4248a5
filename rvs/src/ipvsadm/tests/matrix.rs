//! Every command with every option, by the printed matrix of ipvsadm.

use crate::ipvsadm::options::{Action, Item, Rule, rule};

/// One column for each item in the order of `Item::ALL`: `+` required, ` ` optional, `1` exclusive, `x` illegal.
const MATRIX: [(Action, &str); 14] = [
    (Action::AddService, "xx+   xxxxxxxxxxxxxxx   xxxxxxxxxx"),
    (Action::EditService, "xx+   xxxxxxxxxxxxxxx   xxxxxxxxxx"),
    (Action::DeleteService, "xx+xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    (Action::Flush, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    (Action::List, " 11xxxxxxxxx11       xxxxxxx xxxxx"),
    (Action::AddServer, "xx+xxx+    xxxxxxxxxxxxxxxxxx     "),
    (Action::EditServer, "xx+xxx+    xxxxxxxxxxxxxxxxxx     "),
    (Action::DeleteServer, "xx+xxx+xxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    (Action::Set, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    (Action::StartDaemon, "xxxxxxxxxxx xxxxxxx xxxx    xxxxxx"),
    (Action::StopDaemon, "xxxxxxxxxxxxxxxxxxx xxxxxxxxxxxxxx"),
    (Action::Restore, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    (Action::Save, " xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
    (Action::Zero, "xx xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
];

#[test]
fn every_pair() {
    assert_eq!(MATRIX.map(|(action, _)| action), Action::ALL);
    for (action, row) in MATRIX {
        let own: String = Item::ALL
            .iter()
            .map(|&item| match rule(action, item) {
                Rule::Required => '+',
                Rule::Optional => ' ',
                Rule::Exclusive => '1',
                Rule::Illegal => 'x',
            })
            .collect();
        assert_eq!(own, row, "{}", action.name());
    }
}
