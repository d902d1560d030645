//! resolve
pub mod page;
pub mod pylock;
pub mod view;
