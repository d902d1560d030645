//! cty values on the wire: MessagePack, in which a value that is not known yet is an extension.
//!
//! Source: <https://github.com/hashicorp/terraform/blob/main/docs/plugin-protocol/object-wire-format.md>.

use std::collections::BTreeMap;

use rmpv::Value as Wire;

/// How deep values may nest; those of our schemas nest two levels.
const DEPTH: usize = 32;

/// An object by its attributes.
pub(crate) type Object = BTreeMap<String, Value>;

/// A value of Terraform's language.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Only known after apply. What a refinement says of it (not null, a prefix) is of no use to us.
    Unknown,
    Null,
    Bool(bool),
    Integer(i64),
    String(String),
    List(Vec<Value>),
    /// A map or an object.
    Map(Object),
}

/// The bytes are no value that we have a use for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("a value from Terraform is not MessagePack")]
    Format(#[source] rmpv::decode::Error),
    #[error("a value from Terraform is followed by {0} more bytes")]
    Trailing(usize),
    #[error("{0} is no value of our schema")]
    Kind(&'static str),
}

impl Value {
    /// Whether it, and all in it, is known.
    pub(crate) fn is_known(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::List(items) => items.iter().all(Self::is_known),
            Self::Map(items) => items.values().all(Self::is_known),
            _ => true,
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// Reads MessagePack; no bytes are a null.
    pub(crate) fn decode(mut bytes: &[u8]) -> Result<Self, ValueError> {
        if bytes.is_empty() {
            return Ok(Self::Null);
        }
        let wire = rmpv::decode::read_value_with_max_depth(&mut bytes, DEPTH).map_err(ValueError::Format)?;
        if !bytes.is_empty() {
            return Err(ValueError::Trailing(bytes.len()));
        }
        Self::of_wire(wire)
    }

    fn of_wire(wire: Wire) -> Result<Self, ValueError> {
        Ok(match wire {
            // 0 is an unknown value, 12 one with refinements; others are to be taken as unknown too.
            Wire::Ext(..) => Self::Unknown,
            Wire::Nil => Self::Null,
            Wire::Boolean(value) => Self::Bool(value),
            Wire::Integer(value) => Self::Integer(value.as_i64().ok_or(ValueError::Kind("a number beyond 64 bits"))?),
            Wire::String(text) => Self::String(text.into_str().ok_or(ValueError::Kind("text that is not UTF-8"))?),
            Wire::Array(items) => Self::List(items.into_iter().map(Self::of_wire).collect::<Result<_, _>>()?),
            Wire::Map(items) => {
                let pairs = items.into_iter().map(|(key, value)| match key {
                    Wire::String(key) => {
                        let key = key.into_str().ok_or(ValueError::Kind("a key that is not UTF-8"))?;
                        Ok((key, Self::of_wire(value)?))
                    }
                    _ => Err(ValueError::Kind("a key that is no text")),
                });
                Self::Map(pairs.collect::<Result<_, _>>()?)
            }
            Wire::F32(_) | Wire::F64(_) => return Err(ValueError::Kind("a fraction")),
            Wire::Binary(_) => return Err(ValueError::Kind("a string of bytes")),
        })
    }

    /// Its MessagePack.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &self.wire()).expect("a Vec takes all that is written");
        bytes
    }

    fn wire(&self) -> Wire {
        match self {
            Self::Unknown => Wire::Ext(0, vec![0]),
            Self::Null => Wire::Nil,
            Self::Bool(value) => (*value).into(),
            Self::Integer(value) => (*value).into(),
            Self::String(text) => text.as_str().into(),
            Self::List(items) => Wire::Array(items.iter().map(Self::wire).collect()),
            Self::Map(items) => {
                Wire::Map(items.iter().map(|(key, value)| (key.as_str().into(), value.wire())).collect())
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// The text at `key`, where there is one.
pub(crate) fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key)?.as_str()
}

/// The texts of the list at `key`.
pub(crate) fn texts(object: &Object, key: &str) -> Vec<String> {
    match object.get(key) {
        Some(Value::List(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Whether `key` says yes.
pub(crate) fn yes(object: &Object, key: &str, otherwise: bool) -> bool {
    match object.get(key) {
        Some(Value::Bool(value)) => *value,
        _ => otherwise,
    }
}

/// Whether nothing stands at `key`.
pub(crate) fn is_null(object: &Object, key: &str) -> bool {
    matches!(object.get(key), None | Some(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: impl Into<Value>) {
        assert_eq!(Value::decode(bytes).unwrap(), expected.into());
    }

    #[test]
    fn values_of_the_wire() {
        check(b"", Value::Null);
        check(b"\xc0", Value::Null);
        check(b"\xa2hi", "hi");
        check(b"\xd4\x00\x00", Value::Unknown);
        // Refined: an extension of 12 whose body is a map, {1: false} = not null.
        check(b"\xc7\x03\x0c\x81\x01\xc2", Value::Unknown);
        check(b"\x81\xa1a\x92\x05\xd4\x00\x00", {
            Value::Map([("a".to_owned(), Value::List(vec![Value::Integer(5), Value::Unknown]))].into())
        });
    }

    #[test]
    fn what_was_written_is_read() {
        let object = Value::Map(
            [
                ("u".to_owned(), Value::Unknown),
                ("b".to_owned(), Value::Bool(true)),
                ("n".to_owned(), Value::from(u64::from(u32::MAX) + 1)),
                ("l".to_owned(), Value::List(vec!["x".into(), Value::Null])),
            ]
            .into(),
        );
        assert_eq!(Value::decode(&object.encode()).unwrap(), object);
        assert!(!object.is_known() && Value::List(vec!["x".into(), Value::Null]).is_known());
    }

    #[test]
    fn odd_bytes_are_refused() {
        for bytes in [&b"\x91"[..], b"\x81\x01\x02", b"\xc0\xc0", b"\xa2\xff\xff", b"\xdd\xff\xff\xff\xff", &[0x91; 99]]
        {
            assert!(Value::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
