//! What our types look like to Terraform: one description for the protocol and for the pages of the documentation.

use std::collections::HashMap;

use crate::value::{Object, Value};
use crate::wire;

/// The type of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    String,
    Number,
    Bool,
    Strings,
    StringMap,
}

impl Type {
    /// In cty's JSON.
    const fn json(self) -> &'static str {
        match self {
            Self::String => r#""string""#,
            Self::Number => r#""number""#,
            Self::Bool => r#""bool""#,
            Self::Strings => r#"["list","string"]"#,
            Self::StringMap => r#"["map","string"]"#,
        }
    }

    /// In the words of the registry's pages.
    const fn words(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Number => "Number",
            Self::Bool => "Boolean",
            Self::Strings => "List of String",
            Self::StringMap => "Map of String",
        }
    }
}

/// Who sets an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Required,
    Optional,
    /// The user, or else we.
    Default,
    /// We.
    Computed,
}

/// One attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) kind: Type,
    pub(crate) mode: Mode,
    /// Sentences in Markdown.
    pub(crate) about: &'static str,
}

/// A resource or a data source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    /// `layerwise_layer`; `layerwise` for the provider itself.
    pub(crate) name: &'static str,
    /// The first sentence is the summary.
    pub(crate) about: &'static str,
    pub(crate) attributes: &'static [&'static [Attribute]],
    /// HCL that works.
    pub(crate) example: &'static str,
    /// What `terraform import` takes, for resources.
    pub(crate) import: Option<&'static str>,
}

impl Block {
    pub(crate) fn attributes(&self) -> impl Iterator<Item = &'static Attribute> {
        self.attributes.iter().flat_map(|group| group.iter())
    }

    pub(crate) fn wire(&self) -> wire::Schema {
        let attributes = self.attributes().map(|attribute| wire::Attribute {
            name: attribute.name.to_owned(),
            type_json: attribute.kind.json().into(),
            description: attribute.about.to_owned(),
            required: attribute.mode == Mode::Required,
            optional: matches!(attribute.mode, Mode::Optional | Mode::Default),
            computed: matches!(attribute.mode, Mode::Default | Mode::Computed),
            description_kind: 1,
        });
        let block =
            wire::Block { attributes: attributes.collect(), description: self.about.to_owned(), description_kind: 1 };
        wire::Schema { version: 0, block: Some(block) }
    }

    /// An object of this type in which nothing is set.
    pub(crate) fn empty(&self) -> Object {
        self.attributes().map(|attribute| (attribute.name.to_owned(), Value::Null)).collect()
    }

    /// A page in the format of Terraform's registry.
    fn page(&self, kind: &str) -> String {
        let mut text = format!(
            "---\npage_title: \"{} {kind} - layerwise\"\nsubcategory: \"\"\ndescription: |-\n  {}\n---\n\n\
             # {} ({kind})\n\n{}\n\n## Example Usage\n\n```terraform\n{}\n```\n\n## Schema\n",
            self.name,
            first_sentence(self.about),
            self.name,
            self.about,
            self.example.trim()
        );
        for (title, modes) in [
            ("Required", &[Mode::Required][..]),
            ("Optional", &[Mode::Optional, Mode::Default]),
            ("Read-Only", &[Mode::Computed]),
        ] {
            let mut some: Vec<_> = self.attributes().filter(|attribute| modes.contains(&attribute.mode)).collect();
            some.sort_by_key(|attribute| attribute.name);
            if !some.is_empty() {
                text += &format!("\n### {title}\n\n");
            }
            for attribute in some {
                text += &format!("- `{}` ({}) {}\n", attribute.name, attribute.kind.words(), attribute.about);
            }
        }
        if let Some(import) = self.import {
            text += &format!("\n## Import\n\n{import}\n");
        }
        text
    }
}

fn first_sentence(text: &str) -> &str {
    text.split_once(". ").map_or(text, |(first, _)| first).trim_end_matches('.')
}

/// All that the provider has.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) provider: Block,
    pub(crate) resources: &'static [&'static Block],
    pub(crate) data_sources: &'static [&'static Block],
}

impl Catalogue {
    pub(crate) fn resource(&self, name: &str) -> Option<&'static Block> {
        self.resources.iter().copied().find(|block| block.name == name)
    }

    pub(crate) fn wire(&self) -> wire::ProviderSchema {
        let all = |blocks: &[&Block]| -> HashMap<String, wire::Schema> {
            blocks.iter().map(|block| (block.name.to_owned(), block.wire())).collect()
        };
        wire::ProviderSchema {
            provider: Some(self.provider.wire()),
            resources: all(self.resources),
            data_sources: all(self.data_sources),
            capabilities: Some(wire::ServerCapabilities { plan_destroy: true, get_provider_schema_optional: true }),
        }
    }

    /// The pages of the documentation by their paths, in the registry's format
    /// (<https://developer.hashicorp.com/terraform/registry/providers/docs>).
    pub(crate) fn pages(&self) -> Vec<(String, String)> {
        let short = |block: &Block| block.name.strip_prefix("layerwise_").unwrap_or(block.name).to_owned();
        let mut pages = vec![("index.md".to_owned(), self.provider.page("Provider"))];
        for (dir, kind, blocks) in
            [("resources", "Resource", self.resources), ("data-sources", "Data Source", self.data_sources)]
        {
            pages.extend(blocks.iter().map(|block| (format!("{dir}/{}.md", short(block)), block.page(kind))));
        }
        pages
    }
}
