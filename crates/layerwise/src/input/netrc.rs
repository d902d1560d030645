//! `.netrc`: credentials by host.
//!
//! Source: <https://www.gnu.org/software/inetutils/manual/html_node/The-_002enetrc-file.html>; quotes and comments as
//! Python's `netrc` module takes them.

use std::collections::BTreeMap;

use super::{Credentials, Secret};

/// Credentials by host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Netrc {
    machines: BTreeMap<String, Credentials>,
    default: Option<Credentials>,
}

impl Netrc {
    /// Reads the text. As in curl and Python, what is not understood is skipped: the file belongs to other programs, too.
    pub fn parse(text: &str) -> Self {
        let mut netrc = Self::default();
        let mut tokens = Tokens { rest: text };
        let mut open: Option<(Option<String>, Credentials)> = None;
        while let Some(token) = tokens.next() {
            match token.as_str() {
                "machine" | "default" => {
                    netrc.close(open.take());
                    let host = match token.as_str() {
                        "default" => None,
                        _ => match tokens.next() {
                            Some(host) => Some(host),
                            None => break,
                        },
                    };
                    open = Some((host, Credentials { username: String::new(), password: None }));
                }
                "login" | "user" | "account" | "password" => {
                    let Some(value) = tokens.next() else { break };
                    match (&mut open, token.as_str()) {
                        (Some((_, credentials)), "login" | "user") => credentials.username = value,
                        (Some((_, credentials)), "password") => credentials.password = Some(Secret::new(value)),
                        _ => {}
                    }
                }
                "macdef" => tokens.skip_macro(),
                _ => {}
            }
        }
        netrc.close(open);
        netrc
    }

    /// Takes an entry in; the first one of a host counts.
    fn close(&mut self, entry: Option<(Option<String>, Credentials)>) {
        match entry {
            Some((Some(host), credentials)) => {
                self.machines.entry(host.to_ascii_lowercase()).or_insert(credentials);
            }
            Some((None, credentials)) => self.default = Some(self.default.take().unwrap_or(credentials)),
            None => {}
        }
    }

    /// The credentials for a host, or the file's default ones.
    pub fn for_host(&self, host: &str) -> Option<&Credentials> {
        self.machines.get(&host.to_ascii_lowercase()).or(self.default.as_ref())
    }
}

struct Tokens<'a> {
    rest: &'a str,
}

impl Tokens<'_> {
    /// Past the definition of a macro, which ends with an empty line.
    fn skip_macro(&mut self) {
        let end = ["\n\n", "\r\n\r\n"].iter().filter_map(|end| self.rest.find(end)).min();
        self.rest = end.map_or("", |at| &self.rest[at..]);
    }
}

impl Iterator for Tokens<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            self.rest = self.rest.trim_start();
            // A `#` inside a word belongs to it: passwords have it.
            if !self.rest.starts_with('#') {
                break;
            }
            self.rest = self.rest.find('\n').map_or("", |at| &self.rest[at..]);
        }
        let mut token = String::new();
        let quoted = self.rest.starts_with('"');
        let mut chars = self.rest.char_indices().skip(usize::from(quoted));
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => token.extend(chars.next().map(|(_, escaped)| escaped)),
                '"' if quoted => {
                    end = at + 1;
                    break;
                }
                c if !quoted && c.is_whitespace() => {
                    end = at;
                    break;
                }
                c => token.push(c),
            }
        }
        let found = !self.rest.is_empty();
        self.rest = &self.rest[end..];
        found.then_some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `login:password` for `host`.
    #[track_caller]
    fn check(text: &str, host: &str, expected: &str) {
        let netrc = Netrc::parse(text);
        let found =
            netrc.for_host(host).map(|c| format!("{}:{}", c.username, c.password.as_ref().map_or("-", Secret::expose)));
        assert_eq!(found.unwrap_or_default(), expected, "{host} in {text:?}");
    }

    #[test]
    fn finds_credentials() {
        let text = "# mine\nmachine a.org login me password p#w # x\n\nmachine B.org\n  login \"you there\"\n  \
                    password \"q\\\"r\" account z\nmacdef init\nmachine evil.org login no\n\nmachine c.org password t\n\
                    default login any password thing\n";
        check(text, "a.org", "me:p#w");
        check(text, "A.ORG", "me:p#w");
        check(text, "b.org", "you there:q\"r");
        check(text, "c.org", ":t");
        check(text, "evil.org", "any:thing");
        check("machine a.org login x\nmachine a.org login y", "a.org", "x:-");
        check("machine", "a.org", "");
        check("machine a.org login", "a.org", ":-");
        check("machine a.org password \"unclosed", "a.org", ":unclosed");
        check("", "a.org", "");
    }
}
