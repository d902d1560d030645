//! What is happening, as values. The library prints nothing; whoever runs it reads these.

/// A part of the work with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Getting a program layerwise needs (uv).
    Provision,
    /// Choosing versions.
    Resolve,
    /// Downloading wheels.
    Fetch,
    /// Building wheels from source distributions.
    Compile,
    /// Writing the artifact.
    Pack,
    /// Importing its modules.
    Run,
}

/// One thing that happened. Every `Started` meets a `Finished` with the same stage and item.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work on `item` began; `bytes` is how much it will be, where known.
    Started {
        /// The part of the work.
        stage: Stage,
        /// What is worked on: a wheel's file name, a layer's name.
        item: &'a str,
        /// How many bytes it will be.
        bytes: Option<u64>,
    },
    /// `bytes` more of `item` are done.
    Advanced {
        /// The part of the work.
        stage: Stage,
        /// What is worked on.
        item: &'a str,
        /// How many more.
        bytes: u64,
    },
    /// The last line that a program which works on `item` wrote.
    Line {
        /// The part of the work.
        stage: Stage,
        /// What is worked on.
        item: &'a str,
        /// The line, without its end.
        text: &'a str,
    },
    /// `item` is done, well or not.
    Finished {
        /// The part of the work.
        stage: Stage,
        /// What was worked on.
        item: &'a str,
    },
    /// Something the user should know although the work goes on.
    Warning {
        /// A sentence.
        text: &'a str,
    },
    /// A detail for `-v`.
    Detail {
        /// A sentence.
        text: &'a str,
    },
}

/// A reader of events.
pub trait Events: Send + Sync {
    /// Called from any thread; must return quickly.
    fn emit(&self, event: Event<'_>);
}

/// Whoever may allow something that changes this machine outside the cache.
pub trait Consent: Send + Sync {
    /// Whether `command` may be run; `why` is a sentence. Called from a thread that may wait for an answer.
    fn allows(&self, command: &str, why: &str) -> bool;
}

/// Reads nothing, allows nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Events for Silent {
    fn emit(&self, _: Event<'_>) {}
}

impl Consent for Silent {
    fn allows(&self, _: &str, _: &str) -> bool {
        false
    }
}
