//! An agent's token, in a file that somebody else renews.

use std::fs::File;
use std::io::Read as _;

use adit_dataplane::limits::AGENT_TOKEN_BYTES_MAX;
use adit_dataplane::port::Token;

use super::values::Shown;

/// `--service-account-token-path`.
#[derive(Clone, Debug)]
pub(crate) struct TokenFile {
    path: String,
    /// What was in it when it was read last.
    pub(crate) token: Token,
}

impl TokenFile {
    /// Reads it.
    ///
    /// # Errors
    /// The text to show: it names the file, the flag and the remedy, and says nothing of what is in the file.
    pub(crate) fn read(path: &str) -> Result<Self, String> {
        Ok(Self { path: path.to_owned(), token: read(path)? })
    }

    /// Reads it once more. Whether it has another token.
    ///
    /// # Errors
    /// As [`Self::read`]; the token that is known stays.
    pub(crate) fn read_again(&mut self) -> Result<bool, String> {
        let token = read(&self.path)?;
        Ok(std::mem::replace(&mut self.token, token.clone()) != token)
    }
}

fn read(path: &str) -> Result<Token, String> {
    const FLAG: &str = "--service-account-token-path";
    let shown = Shown(path);
    let mut bytes = Vec::new();
    // What is no regular file tells no size beforehand, and may not end. Two more: a line's end.
    let most = AGENT_TOKEN_BYTES_MAX as u64 + 2;
    File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).map_err(|error| {
        format!("{FLAG}: cannot read {shown} ({error}): check the path and the volume it is mounted from")
    })?;
    if bytes.len() as u64 > most {
        return Err(format!(
            "{FLAG}: {shown} has more than {AGENT_TOKEN_BYTES_MAX} bytes, which no token has"
        ));
    }
    let token = std::str::from_utf8(bytes.trim_ascii()).unwrap_or_default();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "{FLAG}: {shown} holds no token: name the file of a projected serviceAccountToken volume"
        ));
    }
    Ok(Token(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_without_its_lines_end_and_again_when_it_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token").display().to_string();
        std::fs::write(&path, "abc.def.ghi\n").unwrap();
        let mut file = TokenFile::read(&path).unwrap();
        assert_eq!(file.token, Token("abc.def.ghi".to_owned()));
        assert_eq!(file.read_again(), Ok(false));
        std::fs::write(&path, "new").unwrap();
        assert_eq!((file.read_again(), &file.token), (Ok(true), &Token("new".to_owned())));
        std::fs::write(&path, " ").unwrap();
        assert!(file.read_again().is_err());
        assert_eq!(file.token, Token("new".to_owned()), "what was known stays");
        assert!(!format!("{file:?}").contains("new"), "it is shown nowhere");
    }

    #[test]
    fn what_is_no_token_is_told_with_flag_and_remedy_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token").display().to_string();
        assert!(TokenFile::read(&path).unwrap_err().contains("--service-account-token-path: cannot read"));
        for wrong in ["", "\n", "two words", "b\u{fc}cher", &"x".repeat(AGENT_TOKEN_BYTES_MAX + 3)] {
            std::fs::write(&path, wrong).unwrap();
            let error = TokenFile::read(&path).unwrap_err();
            assert!(error.starts_with("--service-account-token-path: "), "{error}");
            assert!(wrong.len() < 4 || !error.contains(wrong), "{error}");
        }
    }
}
