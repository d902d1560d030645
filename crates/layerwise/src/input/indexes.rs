//! Where packages come from, as uv and pip are told: command line, variables, configuration files.
//!
//! Sources: <https://docs.astral.sh/uv/concepts/indexes/>, <https://docs.astral.sh/uv/reference/environment/>,
//! <https://pip.pypa.io/en/stable/topics/configuration/>.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use url::Url;

use super::text;
use super::{Credentials, FindLinks, Index, IndexOptions, InputError, Secret};

/// What the process finds around itself, read by the caller.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// uv's configuration, most important first: the project's ([`super::project_config`]), the user's, the system's.
    pub uv_config: Vec<ConfigFile>,
    /// pip's configuration files, most important first: `PIP_CONFIG_FILE`, the virtual environment's, the user's, the
    /// system's.
    pub pip_config: Vec<ConfigFile>,
    /// The working directory: relative paths in variables and in pip's files count from it.
    pub dir: PathBuf,
}

/// A configuration file. `pyproject.toml` counts with its `[tool.uv]`.
#[derive(Clone)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// The values of `UV_*` variables are secrets until proven otherwise.
impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The settings around the project, layered: `UV_*`, uv's files, `PIP_*`, pip's files.
///
/// # Errors
///
/// If a value is no URL or a file is not in its format; the text of the error shows no secret.
pub fn surrounding(surroundings: &Surroundings) -> Result<IndexOptions, InputError> {
    let mut options = uv_environment(&surroundings.env, &surroundings.dir)?;
    for file in &surroundings.uv_config {
        options = options.or(uv_config(file)?);
    }
    options = options.or(pip_environment(&surroundings.env, &surroundings.dir)?);
    for file in &surroundings.pip_config {
        options = options.or(pip_config(file, &surroundings.dir)?);
    }
    Ok(options)
}

/// Everything together: `command_line`, then what stands in the input files, then [`surrounding`]; with the
/// `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD` variables attached.
///
/// # Errors
///
/// As [`surrounding`].
pub fn layered(
    command_line: IndexOptions,
    inputs: IndexOptions,
    surroundings: &Surroundings,
) -> Result<IndexOptions, InputError> {
    let mut options = command_line.or(inputs).or(surrounding(surroundings)?);
    let indexes = options.default_index.iter_mut().chain(&mut options.extra).chain(options.index_of.values_mut());
    for index in indexes {
        if let Some(found) = index.name.as_deref().and_then(|name| named_credentials(name, &surroundings.env)) {
            index.credentials = Some(found);
        }
    }
    Ok(options)
}

impl IndexOptions {
    /// `self` where it says something, `lower` elsewhere. Lists are joined, the more important first; an index that is
    /// already there is not asked twice.
    #[must_use]
    pub fn or(mut self, lower: Self) -> Self {
        if self.default_index.is_none() {
            self.default_index = lower.default_index;
        }
        for index in lower.extra {
            if !self.extra.iter().any(|known| known.url == index.url) {
                self.extra.push(index);
            }
        }
        for place in lower.find_links {
            if !self.find_links.contains(&place) {
                self.find_links.push(place);
            }
        }
        for (name, index) in lower.index_of {
            self.index_of.entry(name).or_insert(index);
        }
        self.no_index |= lower.no_index;
        self.unsafe_best_match |= lower.unsafe_best_match;
        self.keyring |= lower.keyring;
        self
    }
}

impl Index {
    /// Reads `URL`, `name=URL` or a directory's path, which counts from `base` (absolute). Credentials are taken out of the URL.
    ///
    /// # Errors
    ///
    /// Half a sentence, without the text itself, which may hold a secret.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        let (name, place) = match text.split_once('=') {
            Some((name, url)) if !name.is_empty() && !name.contains([':', '/', '\\']) => (Some(name.to_owned()), url),
            _ => (None, text),
        };
        let (url, credentials) = match place.contains("://") {
            true => without_credentials(place)?,
            false if place.is_empty() => return Err("expected the URL of a package index".to_owned()),
            false => {
                let url = Url::from_directory_path(base.join(place));
                (url.map_err(|()| "neither a URL nor an absolute path".to_owned())?, None)
            }
        };
        Ok(Self { name, url, credentials, explicit: false })
    }
}

impl FindLinks {
    /// Reads a URL or a directory's path, which counts from `base`.
    ///
    /// # Errors
    ///
    /// Half a sentence, without the text itself, which may hold a secret.
    pub fn parse(text: &str, base: &Path) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("file:") {
            let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
            let dir = url.to_file_path().unwrap_or_else(|()| base.join(rest));
            return Ok(Self::Dir(dir));
        }
        if text.contains("://") {
            return without_credentials(text).map(|(url, credentials)| Self::Page(url, credentials));
        }
        Ok(Self::Dir(base.join(text)))
    }
}

/// The URL, and the credentials that stood in it.
fn without_credentials(text: &str) -> Result<(Url, Option<Credentials>), String> {
    let mut url = Url::parse(text.trim()).map_err(|error| format!("not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https" | "file") {
        return Err(format!("expected an `https` URL, got `{}`", url.scheme()));
    }
    let credentials = Credentials::take(&mut url);
    Ok((url, credentials))
}

/// `UV_INDEX_<NAME>_USERNAME` and `_PASSWORD`.
fn named_credentials(name: &str, env: &BTreeMap<String, String>) -> Option<Credentials> {
    let key: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let username = env.get(&format!("UV_INDEX_{key}_USERNAME"));
    let password = env.get(&format!("UV_INDEX_{key}_PASSWORD"));
    (username.is_some() || password.is_some())
        .then(|| Credentials { username: username.cloned().unwrap_or_default(), password: password.map(Secret::new) })
}

fn setting<T>(place: &str, result: Result<T, String>) -> Result<T, InputError> {
    result.map_err(|problem| InputError::Setting { place: place.to_owned(), problem })
}

fn uv_environment(env: &BTreeMap<String, String>, dir: &Path) -> Result<IndexOptions, InputError> {
    let value = |key: &str| env.get(key).map(|text| text.trim()).filter(|text| !text.is_empty());
    let mut options = IndexOptions::default();
    for key in ["UV_DEFAULT_INDEX", "UV_INDEX_URL"] {
        if let (Some(url), None) = (value(key), &options.default_index) {
            options.default_index = Some(setting(key, Index::parse(url, dir))?);
        }
    }
    for key in ["UV_INDEX", "UV_EXTRA_INDEX_URL"] {
        for url in value(key).unwrap_or_default().split_whitespace() {
            options.extra.push(setting(key, Index::parse(url, dir))?);
        }
    }
    for place in value("UV_FIND_LINKS").unwrap_or_default().split(',').map(str::trim).filter(|place| !place.is_empty())
    {
        options.find_links.push(setting("UV_FIND_LINKS", FindLinks::parse(place, dir))?);
    }
    options.no_index = value("UV_NO_INDEX").map_or(Ok(false), |text| truth("UV_NO_INDEX", text))?;
    if let Some(text) = value("UV_INDEX_STRATEGY") {
        options.unsafe_best_match = setting("UV_INDEX_STRATEGY", best_match(text))?;
    }
    if let Some(text) = value("UV_KEYRING_PROVIDER") {
        options.keyring = setting("UV_KEYRING_PROVIDER", keyring(text))?;
    }
    Ok(options)
}

fn best_match(text: &str) -> Result<bool, String> {
    match text {
        "first-index" => Ok(false),
        "unsafe-best-match" | "unsafe-first-match" => Ok(true),
        other => Err(format!("`{other}` is not one of first-index, unsafe-first-match, unsafe-best-match")),
    }
}

fn keyring(text: &str) -> Result<bool, String> {
    match text {
        "disabled" => Ok(false),
        "subprocess" => Ok(true),
        other => Err(format!("`{other}` is not one of disabled, subprocess")),
    }
}

fn truth(place: &str, text: &str) -> Result<bool, InputError> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
        _ => setting(place, Err("expected true or false".to_owned())),
    }
}

/// An entry of `[[index]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct UvIndex {
    pub(super) name: Option<String>,
    url: String,
    default: bool,
    explicit: bool,
    /// `flat`: a page or directory of files.
    format: Option<String>,
}

impl UvIndex {
    pub(super) fn parse(&self, base: &Path) -> Result<Index, String> {
        let mut index = Index::parse(&self.url, base)?;
        index.name = self.name.clone();
        index.explicit = self.explicit;
        Ok(index)
    }
}

/// The part of uv's configuration that is about indexes.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct UvSettings {
    index: Vec<UvIndex>,
    #[serde(flatten)]
    common: UvCommon,
    /// Only for `uv pip`; it comes first.
    pip: Option<UvCommon>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct UvCommon {
    index_url: Option<String>,
    extra_index_url: Vec<String>,
    find_links: Vec<String>,
    no_index: bool,
    index_strategy: Option<String>,
    keyring_provider: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UvPyProject {
    tool: UvTool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct UvTool {
    uv: UvSettings,
}

/// Reads `uv.toml`, or `[tool.uv]` of a `pyproject.toml`.
fn uv_config(file: &ConfigFile) -> Result<IndexOptions, InputError> {
    let shown = file.path.display().to_string();
    let base = file.path.parent().unwrap_or(Path::new("."));
    let settings: UvSettings = if file.path.file_name().is_some_and(|name| name == "pyproject.toml") {
        text::toml::<UvPyProject>(&file.text, &shown)?.tool.uv
    } else {
        text::toml(&file.text, &shown)?
    };
    let mut options = IndexOptions::default();
    if let Some(pip) = &settings.pip {
        options = options.or(uv_common(pip, base, &shown)?);
    }
    let mut listed = IndexOptions::default();
    for entry in &settings.index {
        let place = format!("{shown}: index");
        if entry.format.as_deref() == Some("flat") {
            listed.find_links.push(setting(&place, FindLinks::parse(&entry.url, base))?);
            continue;
        }
        let index = setting(&place, entry.parse(base))?;
        match (entry.default, entry.explicit) {
            (true, _) if listed.default_index.is_none() => listed.default_index = Some(index),
            // Asked only through `[tool.uv.sources]`.
            (_, true) => {}
            _ => listed.extra.push(index),
        }
    }
    Ok(options.or(listed).or(uv_common(&settings.common, base, &shown)?))
}

fn uv_common(settings: &UvCommon, base: &Path, shown: &str) -> Result<IndexOptions, InputError> {
    let place = |key: &str| format!("{shown}: {key}");
    let index = |key: &str, url: &String| setting(&place(key), Index::parse(url, base));
    Ok(IndexOptions {
        default_index: settings.index_url.as_ref().map(|url| index("index-url", url)).transpose()?,
        extra: settings.extra_index_url.iter().map(|url| index("extra-index-url", url)).collect::<Result<_, _>>()?,
        find_links: settings
            .find_links
            .iter()
            .map(|text| setting(&place("find-links"), FindLinks::parse(text, base)))
            .collect::<Result<_, _>>()?,
        no_index: settings.no_index,
        unsafe_best_match: setting(
            &place("index-strategy"),
            settings.index_strategy.as_deref().map_or(Ok(false), best_match),
        )?,
        keyring: setting(&place("keyring-provider"), settings.keyring_provider.as_deref().map_or(Ok(false), keyring))?,
        index_of: BTreeMap::new(),
    })
}

fn pip_environment(env: &BTreeMap<String, String>, dir: &Path) -> Result<IndexOptions, InputError> {
    let values =
        ["index-url", "extra-index-url", "find-links", "no-index", "keyring-provider"].into_iter().filter_map(|key| {
            let variable = format!("PIP_{}", key.replace('-', "_").to_ascii_uppercase());
            let value = env.get(&variable)?.trim();
            (!value.is_empty()).then(|| (key.to_owned(), (variable, value.to_owned())))
        });
    pip_options(&values.collect(), dir)
}

/// Reads a pip configuration file; `[install]` and `[download]` come before `[global]`.
fn pip_config(file: &ConfigFile, dir: &Path) -> Result<IndexOptions, InputError> {
    let shown = file.path.display();
    let sections = ini(&file.text);
    let mut values = BTreeMap::new();
    for section in ["global", "download", "install"] {
        for (key, value) in sections.get(section).into_iter().flatten() {
            if !value.is_empty() {
                values.insert(key.clone(), (format!("{shown}: {section}.{key}"), value.clone()));
            }
        }
    }
    pip_options(&values, dir)
}

/// pip's settings by name, each with the place to blame.
fn pip_options(values: &BTreeMap<String, (String, String)>, dir: &Path) -> Result<IndexOptions, InputError> {
    let list = |key: &str| {
        values.get(key).into_iter().flat_map(|(place, text)| text.split_whitespace().map(move |v| (place, v)))
    };
    let mut options = IndexOptions::default();
    if let Some((place, url)) = values.get("index-url") {
        options.default_index = Some(setting(place, Index::parse(url, dir))?);
    }
    for (place, url) in list("extra-index-url") {
        options.extra.push(setting(place, Index::parse(url, dir))?);
    }
    for (place, text) in list("find-links") {
        options.find_links.push(setting(place, FindLinks::parse(text, dir))?);
    }
    if let Some((place, text)) = values.get("no-index") {
        options.no_index = truth(place, text)?;
    }
    // `auto` and `import` need a Python with the keyring package; only the program can be asked from here.
    options.keyring = values.get("keyring-provider").is_some_and(|(_, text)| text == "subprocess");
    Ok(options)
}

/// Reads Python's `configparser` dialect: sections, `key = value` or `key: value`, indented continuation lines, `#` and
/// `;` comments at the start of a line. Keys as pip normalises them. Lines that fit nothing are skipped.
fn ini(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut sections: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut section = String::new();
    let mut last_key = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let (true, Some(key)) = (line.starts_with(char::is_whitespace), &last_key) {
            let value: &mut String =
                sections.entry(section.clone()).or_default().entry(String::clone(key)).or_default();
            value.push('\n');
            *value += trimmed;
        } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
            last_key = None;
        } else if let Some((key, value)) = trimmed.split_once(['=', ':']) {
            let key = key.trim().to_ascii_lowercase().replace('_', "-");
            sections.entry(section.clone()).or_default().insert(key.clone(), value.trim().to_owned());
            last_key = Some(key);
        }
    }
    sections
}
