//! `layerwise promote`: a published layer, byte for byte, somewhere else.

use std::io::Write as _;

use layerwise::error::Kind;
use layerwise_aws::client::Published;
use layerwise_aws::{AwsError, Client, LayerArn, Storage, Wanted};
use serde_json::json;

use super::Context;
use super::publish::{Order, Publication, artifact, carry_out, client_settings, finish, receipt, shares};
use crate::args::PromoteArgs;
use crate::exit::{self, Code};
use crate::ui::error::Failure;

pub(super) fn run(args: &PromoteArgs, context: &Context<'_>) -> Result<Code, Failure> {
    let sources = sources(args, context)?;
    let mut regions = args.to_regions.clone();
    if regions.is_empty() {
        regions.extend(sources.first().map(|arn| arn.region().to_owned()));
    }
    let order = Order {
        command: "promote",
        regions,
        profile: args.to_profile.clone().or_else(|| args.profile.clone()),
        receipt: args.receipt.as_deref(),
        force: false,
        dry_run: args.dry_run,
        json: args.json,
    };
    // The zips are needed until everything is published.
    let scratch = tempfile::tempdir().map_err(|error| Failure::system("failed to make a directory", &error))?;
    finish(&order, context, async {
        let mut publications = Vec::new();
        for (index, arn) in sources.iter().enumerate() {
            let fetched = tokio::select! {
                fetched = fetch(arn, args, context) => fetched?,
                code = exit::stopped() => return Ok(code),
            };
            let path = scratch.path().join(format!("{index}.zip"));
            publications.push(publication(args, arn, fetched, &path)?);
        }
        carry_out(&order, publications, context).await
    })
}

/// The layer versions that are meant.
fn sources(args: &PromoteArgs, context: &Context<'_>) -> Result<Vec<LayerArn>, Failure> {
    if args.source.starts_with("arn:") {
        let usage = |message| Failure { kind: Kind::Usage, message, ..Failure::bug() };
        return Ok(vec![
            args.source.parse().map_err(|error: layerwise_aws::plan::InvalidLayerArn| usage(error.to_string()))?,
        ]);
    }
    let document = receipt(&context.environment.dir.join(&args.source))?;
    let mut sources: Vec<LayerArn> = Vec::new();
    for layer in document["layers"].as_array().into_iter().flatten() {
        // The bytes are the same in every region: the first will do.
        let regions = layer["regions"].as_array().into_iter().flatten();
        sources.extend(regions.filter_map(|region| region["arn"].as_str()?.parse().ok()).take(1));
    }
    if sources.is_empty() || args.name.is_some() && sources.len() > 1 {
        let message = format!("the receipt names {} layers that were published", sources.len());
        let hints = vec!["name one by its ARN".to_owned()];
        return Err(Failure { kind: Kind::Input, message, hints, ..Failure::bug() });
    }
    Ok(sources)
}

async fn fetch(arn: &LayerArn, args: &PromoteArgs, context: &Context<'_>) -> Result<(Published, Vec<u8>), AwsError> {
    let settings = client_settings(args.profile.as_deref(), context.environment);
    let client = Client::connect(Some(arn.region()), &settings).await?;
    let version = client.version(arn.layer(), arn.version()).await?;
    let version = version.ok_or_else(|| AwsError::NoSuchVersion { arn: arn.to_string() })?;
    let bytes = client.download(&version).await?;
    Ok((version, bytes))
}

fn publication(
    args: &PromoteArgs,
    arn: &LayerArn,
    (version, bytes): (Published, Vec<u8>),
    path: &std::path::Path,
) -> Result<Publication, Failure> {
    let failed = |error: std::io::Error| Failure::system("failed to write the zip", &error);
    let mut file = fs_err::File::create(path).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)?;
    let usage = |message| Failure { kind: Kind::Usage, message, ..Failure::bug() };
    let name = args.name.as_deref().unwrap_or_else(|| arn.name()).parse();
    let mut wanted = Wanted::new(name.map_err(|error: layerwise::config::InvalidLayerName| usage(error.to_string()))?);
    wanted.runtimes = version.runtimes;
    wanted.architectures = version.architectures;
    wanted.description = Some(version.description).filter(|text| !text.is_empty());
    wanted.licence = version.licence;
    wanted.share = shares(&args.share)?;
    wanted.storage =
        args.bucket.as_ref().map(|bucket| Storage { bucket: bucket.clone(), prefix: String::new(), reference: false });
    // AWS has unpacked it once: it is not too large.
    let artifact = artifact(path, 0)?;
    Ok(Publication { wanted, artifact, inputs: json!({ "arn": arn.as_str() }) })
}
