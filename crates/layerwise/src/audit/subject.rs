//! What is audited: a function with its layers, or layers alone, as Lambda would unpack them.

use crate::audit::facts::Content;
use crate::model::{PackageName, Sha256};

/// What Lambda would run.
#[derive(Debug, Default)]
pub struct Subject<'a> {
    /// The function's own package and the layers, the layers in the order in which the function lists them.
    pub artifacts: Vec<Artifact<'a>>,
    /// The function's handler: `index.handler`.
    pub handler: Option<&'a str>,
    /// The function's `PYTHONPATH` variable.
    pub pythonpath: Option<&'a str>,
}

/// One zip, folder or tree.
#[derive(Debug)]
pub struct Artifact<'a> {
    /// Its name for messages.
    pub label: String,
    /// What it is to Lambda.
    pub role: Role,
    /// Bytes of its zip, where there is one.
    pub zipped_bytes: Option<u64>,
    /// Its files, sorted by path.
    pub files: Vec<File<'a>>,
    /// Members that cannot or should not be unpacked: path, and why in half a sentence.
    pub strange: &'a [(String, String)],
    /// It is one wheel by itself: what it requires is elsewhere.
    pub is_wheel: bool,
}

/// What an artifact is to Lambda.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Unpacked at `/var/task`.
    Function,
    /// Unpacked at `/opt`, over the layers before it.
    Layer,
}

impl Role {
    /// Where it is unpacked.
    pub const fn mount(self) -> &'static str {
        match self {
            Self::Function => "/var/task",
            Self::Layer => "/opt",
        }
    }
}

/// One file of an artifact.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Relative to the artifact, `/` between parts.
    pub path: &'a str,
    /// Bytes unpacked.
    pub size: u64,
    /// Permission bits, where known.
    pub mode: Option<u32>,
    /// Where it leads, if it is a symbolic link.
    pub link: Option<&'a str>,
    /// When it was last modified.
    pub modified: Modified,
    /// Of its bytes, where known.
    pub sha256: Option<Sha256>,
    /// What it is.
    pub content: &'a Content,
    /// The distribution it is of, where that is known without RECORD.
    pub owner: Option<&'a PackageName>,
}

/// When a file was last modified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modified {
    /// As a zip says it: MS-DOS date in the high 16 bits, time in the low ones; no time zone.
    Dos(u32),
    /// Seconds since 1970.
    Unix(i64),
    /// Not known.
    Unknown,
}

impl Modified {
    /// Seconds since 1970, a zip's time taken for UTC; `None` where it is no time.
    pub fn seconds(self) -> Option<i64> {
        match self {
            Self::Unix(seconds) => Some(seconds),
            Self::Unknown => None,
            Self::Dos(dos) => {
                let (date, time) = (i64::from(dos >> 16), i64::from(dos & 0xffff));
                let (year, month, day) = (1980 + (date >> 9), date >> 5 & 15, date & 31);
                let (hour, minute, second) = (time >> 11, time >> 5 & 63, (time & 31) * 2);
                let sound = (1..=12).contains(&month) && day >= 1 && hour < 24 && minute < 60 && second < 60;
                // Days from civil: <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>.
                let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
                let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
                let era = shifted_year / 400;
                let year_of_era = shifted_year - era * 400;
                let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
                sound.then_some((days - 719_468) * 86_400 + hour * 3600 + minute * 60 + second)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let dos = |year: u32, month: u32, day: u32, time: u32| {
            Modified::Dos((year - 1980) << 25 | month << 21 | day << 16 | time).seconds()
        };
        assert_eq!(dos(1980, 1, 1, 0), Some(315_532_800));
        assert_eq!(dos(2000, 2, 29, 0), Some(951_782_400));
        assert_eq!(dos(2026, 11, 24, 12 << 11 | 30 << 5 | 5), Some(1_795_478_400 + 45_010));
        assert_eq!(dos(2107, 12, 31, 0), Some(4_354_732_800));
        assert_eq!(Modified::Dos(0).seconds(), None);
        assert_eq!(dos(2000, 13, 1, 0), None);
        assert_eq!(dos(2000, 1, 1, 24 << 11), None);
    }
}
