//! The variables a function starts with in the managed runtimes.
//!
//! Recorded on real AWS by LocalStack (`test_lambda.snapshot.json`, 2026-01, python3.8 to 3.14, x86_64).

use std::collections::BTreeMap;

use crate::model::Target;

/// Where the loader looks on Lambda. A layer's `lib` is last.
const LD_LIBRARY_PATH: &str =
    "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib";

/// Lambda's variables for a function on `target`, and `own` ones over them. Credentials are left out, and with them
/// what is told to a running function only.
pub(super) fn variables(target: Target, handler: Option<&str>, own: &[(String, String)]) -> BTreeMap<String, String> {
    let runtime = target.runtime;
    let execution = format!("AWS_Lambda_{}", runtime.name);
    let fixed = [
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EXECUTION_ENV", &execution),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_FUNCTION_NAME", "layerwise-check"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/layerwise-check"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/01/01/[$LATEST]00000000000000000000000000000000"),
        ("AWS_LAMBDA_RUNTIME_API", "169.254.100.1:9001"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("AWS_XRAY_DAEMON_ADDRESS", "169.254.100.1:2000"),
        ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
        ("LAMBDA_TASK_ROOT", "/var/task"),
        ("LANG", "en_US.UTF-8"),
        ("LD_LIBRARY_PATH", LD_LIBRARY_PATH),
        ("PATH", "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"),
        ("PWD", "/var/task"),
        ("SHLVL", "0"),
        ("TZ", ":UTC"),
        ("_AWS_XRAY_DAEMON_ADDRESS", "169.254.100.1"),
        ("_AWS_XRAY_DAEMON_PORT", "2000"),
        ("_HANDLER", handler.unwrap_or("lambda_function.lambda_handler")),
    ];
    let mut all: BTreeMap<String, String> =
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    if runtime.minor >= 12 {
        // Amazon Linux 2023 has no en_US.UTF-8: Python falls back, and says so here (PEP 538).
        all.insert("LC_CTYPE".to_owned(), "C.UTF-8".to_owned());
    }
    all.extend(own.iter().cloned());
    all
}
