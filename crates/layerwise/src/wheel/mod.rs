//! stub
use crate::model::*;
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct WheelIndex {
    pub wheel_bytes: u64,
    pub metadata: String,
    pub members: Vec<Member>,
}
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub struct Member {
    pub name: String,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct WheelError;
impl WheelIndex {
    pub fn decode(_: &[u8]) -> Option<Self> {
        None
    }
    pub fn encode(&self) -> Vec<u8> {
        vec![]
    }
}
pub fn index(_: &mut fs_err::File, _: &WheelName) -> Result<WheelIndex, WheelError> {
    Err(WheelError)
}
pub fn extract(_: &mut fs_err::File, _: &Member, _: &mut dyn std::io::Write) -> Result<(), WheelError> {
    Err(WheelError)
}
