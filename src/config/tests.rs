use super::*;

const LIVEKIT: &str = include_str!("../../tests/data/config/livekit.yaml");
const EVERY_KEY: &str = include_str!("../../tests/data/config/every_key.yaml");
/// The required keys of a standalone service.
const ALONE: &str = "api_key: k\napi_secret: SECRET\nwork_dir: /w\n";

fn nowhere() -> Environment {
    Environment::new([("HOME", "/home/weir")], false)
}

fn load(text: &str) -> Loaded {
    ServiceConfig::load(text, &nowhere()).unwrap()
}

fn warnings(text: &str) -> Vec<String> {
    load(text).warnings.iter().map(ToString::to_string).collect()
}

fn errors(text: &str) -> String {
    ServiceConfig::load(text, &nowhere()).unwrap_err().to_string()
}

#[test]
fn livekits_file_loads_unchanged() {
    let Loaded { config, warnings } = load(LIVEKIT);
    assert_eq!((config.health_port, config.prometheus_port, config.template_port), (8080, 9090, 7980));
    assert_eq!(config.redis.password.expose(), "12345");
    assert!(config.redis.use_tls && !config.is_standalone() && config.api_port().is_none());
    assert_eq!(config.logging, LoggingConfig { json: true, ..LoggingConfig::default() });
    assert_eq!(config.storage.storage.as_ref().unwrap().s3.as_ref().unwrap().secret.expose(), "SECRET_3");
    assert_eq!(config.session_limits, SessionLimits::default());
    assert_eq!(config.upload_patience, Duration::from_secs(60));
    let cost = &config.cpu_cost;
    assert_eq!((cost.web_cpu_cost, cost.audio_web_cpu_cost, cost.participant_cpu_cost), (3.0, 1.0, 2.0));
    assert_eq!(cost.sdk_audio_room_composite_cpu_cost, 1.0);

    let texts: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "line 3, column 1: log_level: unknown key; use `level` in the section `logging`",
            "line 35, column 1: backup_storage: unknown key; the section is called `backup`",
            "line 39, column 3: latency.rtp_max_allowed_ts_diff: unknown key; use `rtpmaxallowedtsdiff`",
        ]
    );
}

#[test]
fn every_key_is_read() {
    let environment = Environment::new([("HOME", "/home/weir")], false);
    let all = load(EVERY_KEY).config;
    let lines: Vec<&str> = EVERY_KEY.lines().collect();
    let mut taken_out = 0;
    for (at, line) in lines.iter().enumerate() {
        let is_leaf = !line.starts_with('#') && !line.trim_end().ends_with(':');
        if !is_leaf || line.starts_with("  api_key: ") {
            continue;
        }
        let without: Vec<&str> =
            lines.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, line)| *line).collect();
        let less = ServiceConfig::load(&without.join("\n"), &environment).unwrap().config;
        assert_ne!(less, all, "{line}");
        taken_out += 1;
    }
    assert!(taken_out > 110, "{taken_out}");

    let unexpected: Vec<String> = warnings(EVERY_KEY)
        .into_iter()
        .filter(|warning| !warning.contains("livekit-server does this"))
        .filter(|warning| !warning.contains("this build has no tokio-console"))
        .collect();
    assert_eq!(unexpected, Vec::<String>::new());
    assert_eq!(all.session_limits.image_output_max_duration, Duration::from_mins(90));
    assert_eq!((all.io_selection_timeout, all.keep_free), (Duration::from_millis(500), 2_000_000_000));
    assert_eq!(all.upload_patience, Duration::from_mins(5));
    assert_eq!(all.frame_times, FrameTimes::Source);
    assert_eq!(load("api_key: k\napi_secret: s\nframe_times:\n").config.frame_times, FrameTimes::Grid);
    assert_eq!(all.chrome_flags["disable-gpu"], ChromeFlag::Switch(true));
    assert_eq!(all.chrome_flags["js-flags"], ChromeFlag::Value("5".to_owned()));
    assert_eq!(all.cpu_cost.memory_source, cost::MemorySource::Cgroup);
    assert_eq!(all.latency_overrides.web.unwrap().jitter_buffer_latency, Duration::from_secs(2));
    assert_eq!(all.debug.storage().gcp.unwrap().bucket, "d");
    assert!(!format!("{all:#?}").contains("SECRET"), "{all:#?}");
}

/// The file contains secrets where they do not belong; no message repeats one.
#[test]
fn no_message_repeats_a_secret() {
    let mut refused = 0;
    for (at, line) in EVERY_KEY.lines().enumerate() {
        let Some((key, value)) = line.split_once(": ").filter(|(_, value)| value.contains("SECRET")) else {
            continue;
        };
        for wrong in [format!("[[{value}]]"), format!("{{SECRET: {value}}}"), format!("[{{a: {value}}}]")] {
            let text: Vec<String> = EVERY_KEY
                .lines()
                .enumerate()
                .map(|(i, line)| if i == at { format!("{key}: {wrong}") } else { line.to_owned() })
                .collect();
            // A list where a list belongs is not an error.
            if let Err(error) = ServiceConfig::load(&text.join("\n"), &nowhere()) {
                assert!(!error.to_string().contains("SECRET"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 45, "{refused}");
    for text in [
        "redis: redis://:SECRET@host",
        "storage: SECRET",
        "storage: {s3: SECRET}",
        "storage: {s3: {proxy_config: http://u:SECRET@h}}",
        "webhook: {urls: https://u:SECRET@h/}",
        "webhook: https://u:SECRET@h/",
        "api_key: k\napi_secret: SECRET\nwebhook: {urls: ['ftp://u:SECRET@h/']}",
        "api_secret: *SECRET",
        "api_secret: \"SECRET",
        "api_secret: SECRET\n  more: SECRET",
        "api_secret: {SECRET",
        "api_secret: !SECRET! x",
    ] {
        let error = errors(text);
        assert!(!error.contains("SECRET") && error.contains("line "), "{text}: {error}");
    }
}

#[test]
fn invalid_values_are_reported_with_line_and_remedy() {
    for (text, expected) in [
        (
            "health_port: 70000",
            "line 1, column 14: health_port: `70000` is not a whole number from 0 to 65535",
        ),
        (
            "logging:\n  level: loud",
            "line 2, column 10: logging.level: `loud` is not one of debug, info, warn, error",
        ),
        (
            "io_create_timeout: soon",
            "io_create_timeout: `soon` is not a duration like 500ms, 90s or 1h30m, or a number of nanoseconds",
        ),
        ("session_limits:\n  file_output_max_duration: -5s", "`-5s` is not a duration like"),
        ("io_update_timeout: -5", "`-5` is not a duration like"),
        ("io_update_timeout: 1.5", "`1.5` is not a duration like"),
        (
            "storage: {s3: {max_retry_delay: soon}}",
            "storage.s3.max_retry_delay: `soon` is not a duration like 500ms",
        ),
        ("keep_free: lots", "keep_free: `lots` is not a size like 512MB or 2GB, or a number of bytes"),
        ("keep_free: -1", "`-1` is not a size"),
        ("keep_free: 99999999999GB", "is not a size"),
        ("frame_times: fast", "frame_times: `fast` is not grid or source"),
        ("bind: everywhere", "line 1, column 7: bind: invalid IP address syntax"),
        ("redis:\n  db: first", "line 2, column 7: redis.db: `first` is not a whole number"),
        ("cpu_cost: {web_cpu_cost: much}", "cpu_cost.web_cpu_cost: `much` is not a number"),
        ("insecure: perhaps", "insecure: `perhaps` is not true or false"),
        ("chrome_flags: {a: [b]}", "chrome_flags.a: a list is not true, false, a text or a number"),
        ("latency_overrides: {web: {pipeline_latency: x}}", "latency_overrides.web.pipeline_latency: `x`"),
    ] {
        let error = errors(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn all_conflicts_are_reported_at_once() {
    let error = errors("health_port: 7981\nprometheus_port: 7981\nwork_dir: here\n");
    for expected in [
        "line 2, column 1: prometheus_port: `7981` is also the port of `health_port`",
        "port: `7981` is also the port of `prometheus_port`",
        "line 3, column 1: work_dir: not an absolute path",
        "api_key: missing; required without a `redis` section",
        "api_secret: missing",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    for (more, expected) in [
        (
            "webhook: {api_key: other}",
            "webhook.api_key: unknown key; notifications are signed with `api_key`",
        ),
        ("webhook: {urls: [nowhere]}", "webhook.urls[0]: not an http:// or https:// address"),
        ("store: here", "store: not an absolute path"),
    ] {
        let error = errors(&format!("{ALONE}{more}\n"));
        assert!(error.contains(expected), "{more}: {error}");
    }
    assert_eq!(warnings(ALONE), Vec::<String>::new());
    let nothing = ServiceConfig::load(ALONE.trim_end_matches("work_dir: /w\n"), &Environment::default());
    assert!(nothing.unwrap_err().to_string().contains("work_dir: missing; required when neither HOME"));
}

#[test]
fn keys_without_effect_are_warned_about() {
    for (more, expected) in [
        ("ws_url: livekit.example.com", "ws_url: not an address; begin it with one of ws, wss"),
        ("template_base: localhost", "template_base: not an address"),
        ("chrome_flags: {headless: new}", "chrome_flags.headless: breaks recordings: recordings"),
        (
            "chrome_flags: {proxy-server: 'socks5://a:1'}",
            "chrome_flags.proxy-server: pages use this proxy, so link-local addresses are not refused",
        ),
        ("tokio_console_port: 6669", "tokio_console_port: no effect"),
        (
            "cpu_cost: {memory_source: guess}",
            "cpu_cost.memory_source: `guess` is not one of proc_rss, cgroup",
        ),
        ("cpu_cost: {max_memory: 1.5, memory_cost: 0.5}", "cpu_cost.max_memory: too low for any recording"),
        ("cpu_cost: {max_cpu_utilization: 1.5}", "cpu_cost.max_cpu_utilization: out of range"),
        ("cpu_cost: {web_cpu_cost: -1}", "cpu_cost.web_cpu_cost: out of range"),
        ("latency: {audio_mixer_latency: 1s}", "latency.audio_mixer_latency: must be longer"),
        ("storage: {s3: {region: x}}", "storage.s3.bucket: empty"),
        ("backup: {gcp: {bucket: a}, s3: {bucket: b}}", "backup: several providers are set; using `s3`"),
        (
            "s3_assume_role_key: SECRET",
            "s3_assume_role_key: set without `s3_assume_role_secret`, or the reverse",
        ),
        (
            "backup_storage: {}",
            "line 4, column 1: backup_storage: unknown key; the section is called `backup`",
        ),
        ("debug: {enable_profiling: true, s4: {}}", "debug.s4: unknown key"),
    ] {
        let warnings = warnings(&format!("{ALONE}{more}\n"));
        assert!(matches!(&warnings[..], [one] if one.contains(expected)), "{more}: {warnings:?}");
        assert!(!warnings[0].contains("SECRET"), "{warnings:?}");
    }
    let redis = "redis: {address: 'h:1'}\nwork_dir: /w\nstore: /s\nwebhook: {urls: ['https://u:SECRET@h/']}\napi_key: k\n";
    let warnings = warnings(redis);
    assert!(warnings.iter().any(|warning| warning.contains("store: no effect with `redis`")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("webhook: no effect")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains("api_secret: missing")), "{warnings:?}");
    assert_eq!(warnings.len(), 3);
}

#[test]
fn invalid_costs_become_the_defaults() {
    let cost = load(&format!(
        "{ALONE}cpu_cost: {{web_cpu_cost: 0, max_cpu_utilization: 0, audio_room_composite_cpu_cost: 1.5, memory_cost: 0.5, \
         track_cpu_cost: .nan, cpu_kill_grace_sec: 0, memory_kill_grace_sec: -3}}"
    ))
    .config
    .cpu_cost;
    assert_eq!((cost.web_cpu_cost, cost.max_cpu_utilization, cost.track_cpu_cost), (4.0, 0.8, 0.5));
    assert_eq!(
        (cost.sdk_audio_room_composite_cpu_cost, cost.sdk_audio_room_composite_memory_cost),
        (1.5, 0.5)
    );
    assert_eq!((cost.cpu_kill_grace(), cost.memory_kill_grace()), (Duration::from_secs(30), Duration::ZERO));
    let latency = load(&format!(
        "{ALONE}latency: {{jitter_buffer_latency: 6s, audio_mixer_latency: 7s, old_packet_threshold: 0}}"
    ))
    .config
    .latency;
    assert_eq!(latency.rtp_max_allowed_ts_diff, Duration::from_secs(6));
    assert_eq!(latency.old_packet_threshold, Duration::from_millis(2200));
}

#[test]
fn the_environment_fills_in_and_the_text_wins() {
    let environment = Environment::new(
        [
            ("LIVEKIT_API_KEY", "from-env"),
            ("LIVEKIT_API_SECRET", "SECRET_ENV"),
            ("LIVEKIT_WS_URL", "ws://env:7880"),
            ("LIVEKIT_CPU_REQUEST", "2.5"),
            ("HOME", "/home/weir"),
        ],
        false,
    );
    assert!(!format!("{environment:?}").contains("SECRET"));
    let config = ServiceConfig::read(None, &environment).unwrap().config;
    assert_eq!((config.api_key.as_str(), config.api_secret.expose().as_str()), ("from-env", "SECRET_ENV"));
    assert_eq!((config.ws_url.as_str(), config.cpu_request), ("ws://env:7880", Some(2.5)));
    assert_eq!(config.webhook.api_key, "from-env");
    assert_eq!((config.api_port(), config.bind.to_string().as_str()), (Some(7981), "127.0.0.1"));
    assert_eq!(config.work_dir, Some("/home/weir/.local/state/weir".into()));
    assert_eq!(config.store, Some("/home/weir/.local/state/weir/weir.redb".into()));
    let config = ServiceConfig::load("api_key: text\nport: 0\nwork_dir: /w", &environment).unwrap().config;
    assert_eq!((config.api_key.as_str(), config.api_port()), ("text", None));
    assert_eq!(config.store, Some("/w/weir.redb".into()));
    let odd = Environment::new([("LIVEKIT_CPU_REQUEST", "0"), ("HOME", "/h")], false);
    let loaded = ServiceConfig::load(ALONE, &odd).unwrap();
    assert_eq!((loaded.config.cpu_request, loaded.warnings.len()), (None, 1));
}

#[test]
fn the_work_directory_follows_the_system() {
    let dir = |variables: &[(&str, &str)], is_root| {
        let dir = Environment::new(variables.iter().copied(), is_root).work_dir();
        dir.map(|dir| dir.display().to_string())
    };
    assert_eq!(dir(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")], true).as_deref(), Some("/var/lib/a"));
    assert_eq!(dir(&[("HOME", "/root")], true).as_deref(), Some("/var/lib/weir"));
    assert_eq!(dir(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")], false).as_deref(), Some("/s/weir"));
    assert_eq!(
        dir(&[("HOME", "/h"), ("XDG_STATE_HOME", "s")], false).as_deref(),
        Some("/h/.local/state/weir")
    );
    assert_eq!(dir(&[("HOME", "")], false), None);
}

#[test]
fn the_text_of_the_environment_wins_over_files() {
    let dir = tempfile::tempdir().unwrap();
    let [flag, named] = ["flag.yaml", "named.yaml"].map(|name| dir.path().join(name));
    std::fs::write(&flag, format!("{ALONE}cluster_id: flag\n")).unwrap();
    std::fs::write(&named, format!("{ALONE}cluster_id: named\n")).unwrap();
    let body = format!("{ALONE}cluster_id: body\n");
    let named = named.display().to_string();
    let read = |file, variables: &[(&str, &str)]| {
        ServiceConfig::read(file, &Environment::new(variables.iter().copied(), false))
    };
    let file = ("EGRESS_CONFIG_FILE", named.as_str());
    assert_eq!(read(None, &[file]).unwrap().config.cluster_id, "named");
    assert_eq!(read(Some(&flag), &[file]).unwrap().config.cluster_id, "flag");
    assert_eq!(read(Some(&flag), &[file, ("EGRESS_CONFIG_BODY", &body)]).unwrap().config.cluster_id, "body");
    let absent = dir.path().join("none.yaml");
    let missing = read(Some(&absent), &[]).unwrap_err().to_string();
    assert!(missing.contains("can't read the configuration"), "{missing}");
    let broken = read(None, &[("EGRESS_CONFIG_BODY", "health_port: x")]).unwrap_err().to_string();
    assert!(broken.starts_with("EGRESS_CONFIG_BODY: line 1, column 14: health_port: `x`"), "{broken}");
    let nothing = read(None, &[("HOME", "/h")]).unwrap_err().to_string();
    assert!(nothing.starts_with("no configuration: \napi_key: missing"), "{nothing}");
}

#[test]
fn the_console_is_at_the_apis_port_or_at_its_own() {
    let port = |text: &str| load(&format!("{ALONE}{text}")).config.console_port();
    assert_eq!(port(""), Some(DEFAULT_PORT));
    assert_eq!(port("port: 80"), Some(80));
    assert_eq!(port("console_port: 81"), Some(81));
    assert_eq!(port("port: 0"), None);
    assert_eq!(port("port: 0\nconsole_port: 81"), Some(81));
    assert_eq!(port("console: false"), None);
    let fleet = "redis: {address: localhost:6379}\n";
    assert_eq!(port(fleet), None, "there is no API");
    assert_eq!(port(&format!("{fleet}console_port: 81")), Some(81));
    let idle = warnings(&format!("{ALONE}console: false\nconsole_port: 81"));
    assert!(idle.len() == 1 && idle[0].contains("console_port"), "{idle:?}");
    assert!(errors(&format!("{ALONE}port: 81\nconsole_port: 81")).contains("port of"));
}

#[test]
fn own_ports_lists_every_listening_port() {
    let ports =
        |text: &str| load(&format!("{ALONE}{text}")).config.own_ports().into_iter().collect::<Vec<_>>();
    assert_eq!(ports(""), [DEFAULT_PORT]);
    let all = "port: 1\nconsole_port: 2\nhealth_port: 3\nprometheus_port: 4\ndebug_handler_port: 5";
    assert_eq!(ports(all), [1, 2, 3, 4, 5]);
    assert_eq!(ports("port: 0\nhealth_port: 3"), [3]);
}
