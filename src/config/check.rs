//! What in a configuration does not go together, and what has no effect.

use std::collections::BTreeMap;

use url::Url;

use super::storage::StorageConfig;
use super::yaml::{Finding, Tree};
use super::{Environment, ServiceConfig, chrome, load};

/// `error`: with it the service can't do what it is there for. `warning`: it can, and yet somebody meant something else.
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
                    "it is needed where there is no `redis` section, as callers of the API sign with it; \
                     give it here or in {variable}"
                );
                error(find(key, &problem));
            }
        }
        if has_key && config.webhook.api_key != config.api_key {
            error(find("webhook.api_key", "notifications are signed with `api_key`; there is no other"));
        }
        for (at, url) in config.webhook.urls.iter().enumerate() {
            if !is_url(url.expose(), &["http", "https"]) {
                let key = format!("webhook.urls[{at}]");
                error(Finding::new(tree.place("webhook.urls"), key, "it is no http:// or https:// address"));
            }
        }
    } else {
        if has_key != has_secret {
            let missing = if has_key { "api_secret" } else { "api_key" };
            warning(find(missing, "one of `api_key` and `api_secret` is missing; rooms can't be joined so"));
        }
        for (is_said, key) in
            [(tree.place("store").is_some(), "store"), (!config.webhook.urls.is_empty(), "webhook")]
        {
            if is_said {
                warning(find(key, "it has no effect beside `redis`: livekit-server does this then"));
            }
        }
    }
    if config.console_port != 0 && !config.console {
        warning(find("console_port", "it has no effect beside `console: false`"));
    }
    for (address, key, schemes) in [
        (&config.ws_url, "ws_url", ["ws", "wss", "http", "https"].as_slice()),
        (&config.template_base, "template_base", &["http", "https"]),
    ] {
        if !(address.is_empty() || is_url(address, schemes)) {
            warning(find(key, &format!("it is no address that begins with one of {}", schemes.join(", "))));
        }
    }
    for (key, flag) in &config.chrome_flags {
        if let Some(why) = chrome::breaks(key, flag) {
            warning(find(&format!("chrome_flags.{key}"), &format!("it replaces what we depend on: {why}")));
        }
    }
    if config.tokio_console_port != 0 && config.tokio_console_port().is_none() {
        let problem = if cfg!(feature = "console") {
            "it has no effect without `debug_handler_port`"
        } else {
            "it has no effect: this build has no tokio-console (feature `console`)"
        };
        warning(find("tokio_console_port", problem));
    }
    costs(config, tree, &mut |key, problem| warning(find(key, &problem)));
    storages(config, &mut |key, problem| warning(find(&key, &problem)));
    if config.latency.audio_mixer_latency <= config.latency.jitter_buffer_latency {
        warning(find("latency.audio_mixer_latency", "it has to be longer than `jitter_buffer_latency`"));
    }
    if environment.get("LIVEKIT_CPU_REQUEST").is_some_and(|text| load::cores(text).is_none()) {
        warning(Finding::new(None, "LIVEKIT_CPU_REQUEST", "it is no number of cores; the machine's counts"));
    }
}

fn ports(config: &ServiceConfig, error: &mut dyn FnMut(&str, String)) {
    let ports = [
        ("health_port", config.health_port),
        ("template_port", config.template_port),
        ("prometheus_port", config.prometheus_port),
        ("debug_handler_port", config.debug_handler_port),
        ("tokio_console_port", config.tokio_console_port),
        ("port", config.api_port().unwrap_or(0)),
        ("console_port", config.console_port),
    ];
    let mut taken = BTreeMap::new();
    for (key, port) in ports.into_iter().filter(|(_, port)| *port != 0) {
        if let Some(other) = taken.insert(port, key) {
            error(key, format!("`{port}` is the port of `{other}` too"));
        }
    }
}

fn dirs(config: &ServiceConfig, error: &mut dyn FnMut(&str, &str)) {
    match &config.work_dir {
        None => error("work_dir", "it is needed where neither HOME nor STATE_DIRECTORY is set"),
        Some(dir) if !dir.is_absolute() => error("work_dir", "it has to be an absolute path"),
        Some(_) => {}
    }
    if config.store.as_ref().is_some_and(|store| !store.is_absolute()) {
        error("store", "it has to be an absolute path");
    }
}

fn costs(config: &ServiceConfig, tree: &Tree, warning: &mut dyn FnMut(&str, String)) {
    let cost = &config.cpu_cost;
    if let Some(text) = tree.text("cpu_cost.memory_source")
        && !["", "proc_rss", "cgroup"].contains(&text)
    {
        warning(
            "cpu_cost.memory_source",
            format!("`{text}` is not one of proc_rss, cgroup; proc_rss counts"),
        );
    }
    if cost.max_memory > 0.0 && cost.max_memory <= 1.0 + cost.memory_cost {
        let needed = 1.0 + cost.memory_cost;
        warning(
            "cpu_cost.max_memory",
            format!(
                "no recording can be taken: 1 GB is kept free and `memory_cost` added, more than {needed} is needed"
            ),
        );
    }
    for key in ["cpu_cost.max_cpu_utilization", "cpu_cost.web_cpu_cost", "cpu_cost.audio_web_cpu_cost"] {
        let said: Option<f64> = tree.text(key).and_then(|text| text.parse().ok());
        let is_utilization = key.ends_with("utilization");
        if said.is_some_and(|said| said < 0.0 || (is_utilization && said > 1.0)) {
            warning(key, "it is out of range; the default counts".to_owned());
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
                warning(format!("{section}.{key}"), "it is empty; nothing can be stored there".to_owned());
            }
        }
        if let [(first, _), .., _] = buckets.as_slice() {
            let first = first.split('.').next().unwrap_or_default();
            warning(section.to_owned(), format!("several providers are named; `{first}` counts"));
        }
    }
    let (key, secret) = (&server.s3_assume_role_key, &server.s3_assume_role_secret);
    if key.expose().is_empty() != secret.expose().is_empty() {
        warning(
            "s3_assume_role_key".to_owned(),
            "it and `s3_assume_role_secret` go together; roles can't be assumed so".to_owned(),
        );
    }
}

/// The providers that are named, in the order in which they count: the key of each one's bucket, and its name.
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

/// Keys that are often written, and mean nothing.
pub(super) fn with_hint(mut unknown: Finding) -> Finding {
    let hint = match unknown.key.rsplit('.').next().unwrap_or_default() {
        "backup_storage" => "the section is called `backup`",
        "log_level" => "it is `level` in the section `logging`",
        "keys" => "there is one key: `api_key` and `api_secret`",
        "bind_addresses" => "it is `bind`, one address",
        "rtp_max_allowed_ts_diff" => "it is read as `rtpmaxallowedtsdiff`",
        "rtp_max_drift_adjustment" => "it is read as `rtpmaxdriftadjustment`",
        "rtp_drift_adjustment_window_percent" => "it is read as `rtpdriftadjustmentwindowpercent`",
        _ => return unknown,
    };
    unknown.problem = format!("{}; {hint}", unknown.problem);
    unknown
}
