//! `layerwise man [DIR]`.

use std::io;
use std::path::Path;

use super::Context;
use crate::exit::Code;
use crate::ui::error::Failure;

pub(super) fn run(dir: Option<&Path>, context: &Context<'_>) -> Result<Code, Failure> {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(crate::args::command())
            .render(&mut page)
            .map_err(|error| Failure::system("failed to make the manual page", &error))?;
        return context.answer(&String::from_utf8_lossy(&page));
    };
    let dir = context.environment.dir.join(dir);
    let written: io::Result<()> =
        fs_err::create_dir_all(&dir).and_then(|()| clap_mangen::generate_to(crate::args::command(), &dir));
    written.map_err(|error| Failure::system("failed to write the manual pages", &error))?;
    Ok(Code::Success)
}
