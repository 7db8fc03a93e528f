//! Checks a configuration for conflicts, and for keys without effect.

use std::collections::BTreeMap;

use url::Url;

use super::storage::StorageConfig;
use super::yaml::{Finding, Tree};
use super::{Environment, HAS_CONSOLE, ServiceConfig, chrome, load};

/// Reports an `error` if the service could not do its work, and a `warning` for a probable mistake.
pub(super) fn check(
    config: &ServiceConfig,
    tree: &Tree,
    environment: &Environment,
    error: &mut dyn FnMut(Finding),
    warning: &mut dyn FnMut(Finding),
) {
    let find = |key: &str, problem: &str| Finding::new(tree.place(key), key, problem);
    ports(config, &mut |key, problem| error(find(key, &problem)));
    dirs(config, &mut |key, problem| error(find(key, problem)));
    let (has_key, has_secret) = (!config.api_key.is_empty(), !config.api_secret.expose().is_empty());
    if config.is_standalone() {
        for (is_there, key, variable) in
            [(has_key, "api_key", "LIVEKIT_API_KEY"), (has_secret, "api_secret", "LIVEKIT_API_SECRET")]
        {
            if !is_there {
                let problem = format!(
                    "missing; required without a `redis` section, because API callers sign with it; \
                     set it here or in {variable}"
                );
                error(find(key, &problem));
            }
        }
        if has_key && config.webhook.api_key != config.api_key {
            error(find(
                "webhook.api_key",
                "unknown key; notifications are signed with `api_key`; leave this empty",
            ));
        }
        for (at, url) in config.webhook.urls.iter().enumerate() {
            if !is_url(url.expose(), &["http", "https"]) {
                let key = format!("webhook.urls[{at}]");
                error(Finding::new(tree.place("webhook.urls"), key, "not an http:// or https:// address"));
            }
        }
    } else {
        if has_key != has_secret {
            let missing = if has_key { "api_secret" } else { "api_key" };
            warning(find(missing, "missing; rooms can be joined only with both `api_key` and `api_secret`"));
        }
        for (is_set, key) in
            [(tree.place("store").is_some(), "store"), (!config.webhook.urls.is_empty(), "webhook")]
        {
            if is_set {
                warning(find(key, "no effect with `redis`, because livekit-server does this"));
            }
        }
    }
    if config.console_port != 0 && !config.console {
        warning(find("console_port", "no effect with `console: false`"));
    }
    for (address, key, schemes) in [
        (&config.ws_url, "ws_url", ["ws", "wss", "http", "https"].as_slice()),
        (&config.template_base, "template_base", &["http", "https"]),
    ] {
        if !(address.is_empty() || is_url(address, schemes)) {
            warning(find(key, &format!("not an address; begin it with one of {}", schemes.join(", "))));
        }
    }
    for (key, flag) in &config.chrome_flags {
        if let Some(why) = chrome::breaks(key, flag) {
            warning(find(&format!("chrome_flags.{key}"), &format!("breaks recordings: {why}")));
        }
    }
    if !config.allow_link_local
        && let Some(key) = config.chrome_flags.keys().find(|key| chrome::is_proxy(key))
    {
        let problem = "pages use this proxy, so link-local addresses are not refused; set `allow_link_local: true`if that is intended";
        warning(find(&format!("chrome_flags.{key}"), problem));
    }
    if config.tokio_console_port != 0 && config.tokio_console_port().is_none() {
        let problem = if HAS_CONSOLE {
            "no effect without `debug_handler_port`"
        } else {
            "no effect: this build has no tokio-console (feature `console`, `--cfg tokio_unstable`)"
        };
        warning(find("tokio_console_port", problem));
    }
    costs(config, tree, &mut |key, problem| warning(find(key, &problem)));
    storages(config, &mut |key, problem| warning(find(&key, &problem)));
    if config.latency.audio_mixer_latency <= config.latency.jitter_buffer_latency {
        warning(find("latency.audio_mixer_latency", "must be longer than `jitter_buffer_latency`"));
    }
    if environment.get("LIVEKIT_CPU_REQUEST").is_some_and(|text| load::cores(text).is_none()) {
        warning(Finding::new(None, "LIVEKIT_CPU_REQUEST", "not a number of cores; using the machine's"));
    }
}

fn ports(config: &ServiceConfig, error: &mut dyn FnMut(&str, String)) {
    let ports = [
        ("health_port", config.health_port),
        ("prometheus_port", config.prometheus_port),
        ("debug_handler_port", config.debug_handler_port),
        ("tokio_console_port", config.tokio_console_port),
        ("port", config.api_port().unwrap_or(0)),
        ("console_port", config.console_port),
    ];
    let mut taken = BTreeMap::new();
    for (key, port) in ports.into_iter().filter(|(_, port)| *port != 0) {
        if let Some(other) = taken.insert(port, key) {
            error(key, format!("`{port}` is also the port of `{other}`"));
        }
    }
}

fn dirs(config: &ServiceConfig, error: &mut dyn FnMut(&str, &str)) {
    match &config.work_dir {
        None => error("work_dir", "missing; required when neither HOME nor STATE_DIRECTORY is set"),
        Some(dir) if !dir.is_absolute() => error("work_dir", "not an absolute path"),
        Some(_) => {}
    }
    if config.store.as_ref().is_some_and(|store| !store.is_absolute()) {
        error("store", "not an absolute path");
    }
}

fn costs(config: &ServiceConfig, tree: &Tree, warning: &mut dyn FnMut(&str, String)) {
    let cost = &config.cpu_cost;
    if let Some(text) = tree.text("cpu_cost.memory_source")
        && !["", "proc_rss", "cgroup"].contains(&text)
    {
        warning("cpu_cost.memory_source", format!("`{text}` is not one of proc_rss, cgroup; using proc_rss"));
    }
    if cost.max_memory > 0.0 && cost.max_memory <= 1.0 + cost.memory_cost {
        let needed = 1.0 + cost.memory_cost;
        warning(
            "cpu_cost.max_memory",
            format!(
                "too low for any recording: 1 GB stays free and `memory_cost` is added; set more than {needed}"
            ),
        );
    }
    for key in ["cpu_cost.max_cpu_utilization", "cpu_cost.web_cpu_cost", "cpu_cost.audio_web_cpu_cost"] {
        let value: Option<f64> = tree.text(key).and_then(|text| text.parse().ok());
        let is_utilization = key.ends_with("utilization");
        if value.is_some_and(|value| value < 0.0 || (is_utilization && value > 1.0)) {
            warning(key, "out of range; using the default".to_owned());
        }
    }
}

fn storages(config: &ServiceConfig, warning: &mut dyn FnMut(String, String)) {
    let server = &config.storage;
    let debug = config.debug.storage();
    let sections =
        [("storage", server.storage.as_ref()), ("backup", server.backup.as_ref()), ("debug", Some(&debug))];
    for (section, storage) in sections.into_iter().filter_map(|(section, storage)| Some((section, storage?)))
    {
        let buckets = buckets(storage);
        for (key, bucket) in &buckets {
            if bucket.is_empty() {
                warning(format!("{section}.{key}"), "empty; nothing can be uploaded".to_owned());
            }
        }
        if let [(first, _), .., _] = buckets.as_slice() {
            let first = first.split('.').next().unwrap_or_default();
            warning(section.to_owned(), format!("several providers are set; using `{first}`"));
        }
    }
    let (key, secret) = (&server.s3_assume_role_key, &server.s3_assume_role_secret);
    if key.expose().is_empty() != secret.expose().is_empty() {
        warning(
            "s3_assume_role_key".to_owned(),
            "set without `s3_assume_role_secret`, or the reverse; set both to assume roles".to_owned(),
        );
    }
}

/// Returns the named providers in order of precedence: the key of each bucket, and its value.
fn buckets(storage: &StorageConfig) -> Vec<(&'static str, &str)> {
    let StorageConfig { prefix: _, generate_presigned_url: _, request_timeout: _, s3, gcp, azure, alioss } =
        storage;
    [
        s3.as_ref().map(|s3| ("s3.bucket", s3.bucket.as_str())),
        gcp.as_ref().map(|gcp| ("gcp.bucket", gcp.bucket.as_str())),
        azure.as_ref().map(|azure| ("azure.container_name", azure.container_name.as_str())),
        alioss.as_ref().map(|alioss| ("alioss.bucket", alioss.bucket.as_str())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    Url::parse(text).is_ok_and(|url| schemes.contains(&url.scheme()) && url.has_host())
}

/// Adds a hint to unknown keys that people often write.
pub(super) fn with_hint(mut unknown: Finding) -> Finding {
    let hint = match unknown.key.rsplit('.').next().unwrap_or_default() {
        "backup_storage" => "the section is called `backup`",
        "log_level" => "use `level` in the section `logging`",
        "keys" => "use `api_key` and `api_secret`",
        "bind_addresses" => "use `bind`, with one address",
        "rtp_max_allowed_ts_diff" => "use `rtpmaxallowedtsdiff`",
        "rtp_max_drift_adjustment" => "use `rtpmaxdriftadjustment`",
        "rtp_drift_adjustment_window_percent" => "use `rtpdriftadjustmentwindowpercent`",
        _ => return unknown,
    };
    unknown.problem = format!("{}; {hint}", unknown.problem);
    unknown
}
