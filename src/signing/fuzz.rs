//! Lists of signers that others write. tests/long has many more cases.

use proptest::prelude::*;

use super::Signers;

proptest! {
    #[test]
    fn no_list_of_signers_is_too_odd(text in prop::collection::vec(any::<u8>(), 0..80), words in "[a-z*!?,@=\" \t\n-]{0,60}", key in "[A-Za-z0-9+/=]{0,90}") {
        for text in [
            String::from_utf8_lossy(&text).into_owned(),
            format!("{words} ssh-ed25519 {key}"),
            format!("ann {words} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA{key}"),
        ] {
            if let Err(why) = Signers::parse(&text) {
                prop_assert!(!why.is_empty());
            }
        }
    }
}
