//! What the file and the flags come to.

use clap::Parser;

use super::*;

fn settings(args: &[&str], file: &str) -> Settings {
    let args = ["hioload-server"].iter().chain(args);
    Settings::merge(&Cli::parse_from(args), &toml::from_str(file).unwrap()).unwrap()
}

#[test]
fn certificates_switch_tls_on_and_addresses_of_its_own_leave_the_others_plain() {
    let pair = &["--tls-cert", "c.pem", "--tls-key", "k.pem"][..];
    let none: [&str; 0] = [];
    let only = settings(pair, "");
    assert_eq!(only.listen, none);
    assert_eq!(only.tls_listen, ["127.0.0.1:8000"]);
    let moved = settings(&[pair, &["--listen", "127.0.0.1:1"]].concat(), "");
    assert_eq!(moved.listen, none);
    assert_eq!(moved.tls_listen, ["127.0.0.1:1"]);
    let apart = settings(&[pair, &["--tls-listen", "127.0.0.1:2"]].concat(), "");
    assert_eq!(apart.listen, none);
    assert_eq!(apart.tls_listen, ["127.0.0.1:2"]);
    let file = "listen = ['127.0.0.1:1']\n[tls]\nlisten = ['0.0.0.0:2']\n\
         certificates = [{ cert = 'a', key = 'b' }, { cert = 'c', key = 'd' }]";
    let both = settings(&[], file);
    assert_eq!(both.listen, ["127.0.0.1:1"]);
    assert_eq!(both.tls_listen, ["0.0.0.0:2"]);
    assert_eq!(both.certificates.len(), 2);
    assert!(both.relay_is_off(), "a TLS address is reachable too");
    assert_eq!(settings(pair, file).certificates.len(), 1);
}

#[test]
fn a_certificate_without_its_key_and_tls_without_a_certificate_are_refused() {
    let merge = |args: &[&str]| {
        let args = ["hioload-server"].iter().chain(args);
        Settings::merge(&Cli::parse_from(args), &File::default()).unwrap_err()
    };
    let pairs = merge(&["--tls-cert", "a", "--tls-cert", "b", "--tls-key", "c"]);
    assert!(pairs.to_string().contains("2 --tls-cert but 1 --tls-key"));
    let bare = merge(&["--tls-listen", "127.0.0.1:443"]);
    assert!(bare.to_string().contains("127.0.0.1:443"), "{bare}");
}

#[test]
fn the_relay_is_on_only_where_just_this_machine_can_reach_it() {
    for (args, file, on) in [
        (&[][..], "", true),
        (&["--listen", "[::1]:80"], "", true),
        (&["--listen", "localhost:80"], "", true),
        (&["--listen", "0.0.0.0:80"], "", false),
        (
            &["--listen", "127.0.0.1:80", "--listen", "10.0.0.1:80"],
            "",
            false,
        ),
        (&["--listen", "0.0.0.0:80", "--dev"], "", true),
        (
            &["--listen", "0.0.0.0:80"],
            "[routes]\necho = true\nbroadcast = true",
            true,
        ),
        (&[], "[routes]\necho = false\nbroadcast = false", false),
    ] {
        let settings = settings(args, file);
        assert_eq!(
            (settings.echo, settings.broadcast),
            (on, on),
            "{args:?} {file:?}"
        );
    }
}

#[test]
fn flags_override_the_file_and_the_file_the_defaults() {
    let file = "shards = 3\nlisten = ['127.0.0.1:1']\n[timeouts]\nidle = '7s'\nping = '0s'";
    let from_file = settings(&[], file);
    assert_eq!(from_file.config.shards, 3);
    assert_eq!(from_file.listen, ["127.0.0.1:1"]);
    assert_eq!(from_file.config.idle_timeout, Some(Duration::from_secs(7)));
    assert_eq!(from_file.config.ping_interval, None);
    let flags = settings(&["--shards", "1", "--idle-timeout", "9s"], file);
    assert_eq!(flags.config.shards, 1);
    assert_eq!(flags.config.idle_timeout, Some(Duration::from_secs(9)));
    assert_eq!(flags.config.max_message, Config::default().max_message);
}

#[test]
fn cpus_and_placement_come_from_flags_or_the_file() {
    let file = "cpus = '0-3,8'\nplacement = 'pack'\n[limits]\nmax_connections = 50";
    let from_file = settings(&[], file).config;
    assert_eq!(from_file.cpus.as_slice(), [0, 1, 2, 3, 8]);
    assert_eq!(from_file.placement, placement::Placement::Pack);
    assert_eq!(from_file.max_connections, 50);
    let args = [
        "--cpus",
        "5",
        "--placement",
        "spread",
        "--max-connections",
        "60",
    ];
    let flags = settings(&args, file).config;
    assert_eq!(flags.cpus.as_slice(), [5]);
    assert_eq!(flags.placement, placement::Placement::Spread);
    assert_eq!(flags.max_connections, 60);
    let probe = [
        "hioload-server",
        "probe",
        "--cpus",
        "5",
        "--max-connections",
        "60",
    ];
    let Some(crate::cli::Command::Probe { seats, json }) = Cli::parse_from(probe).command else {
        panic!("no probe");
    };
    let config = seated(&seats, &toml::from_str(file).unwrap()).unwrap();
    assert_eq!((config.cpus, config.max_connections), (flags.cpus, 60));
    assert_eq!(config.placement, placement::Placement::Pack);
    assert!(!json);
}

#[test]
fn the_receive_pool_begins_with_no_more_than_it_may_have() {
    let few = settings(&["--recv-buffers-max", "3"], "").config;
    assert_eq!((few.recv_buffers, few.recv_buffers_max), (3, 3));
    let many = settings(&[], "[limits]\nrecv_buffers_max = 200").config;
    assert_eq!((many.recv_buffers, many.recv_buffers_max), (16, 200));
    few.check().unwrap();
}

#[test]
fn deflate_is_shared_unless_said_otherwise() {
    let mode = |args: &[&str], file: &str| settings(args, file).config.deflate.map(|d| d.mode);
    assert_eq!(mode(&[], ""), Some(DeflateMode::Shared));
    assert_eq!(mode(&["--deflate", "off"], ""), None);
    let file = "[deflate]\nmode = 'dedicated'";
    assert_eq!(mode(&[], file), Some(DeflateMode::Dedicated));
    assert_eq!(
        mode(&["--deflate", "shared"], file),
        Some(DeflateMode::Shared)
    );
}

#[test]
fn proxies_are_ranges_and_a_wrong_one_is_named() {
    let parse = |trusted: &str| {
        let file = format!("[proxies]\ntrusted = {trusted}\nprotocol = true");
        let file = toml::from_str(&file).unwrap();
        Settings::merge(&Cli::parse_from(["hioload-server"]), &file)
    };
    let config = parse(r#"["10.0.0.0/8", "::1"]"#).unwrap().config;
    assert!(config.proxy_protocol);
    assert_eq!(config.trusted_proxies, "10.0.0.0/8,::1".parse().unwrap());
    let fault = parse(r#"["10.0.0.1/8"]"#).unwrap_err().to_string();
    assert!(fault.contains("proxies.trusted"), "{fault}");
    assert!(fault.contains("the range is 10.0.0.0/8"), "{fault}");
}

#[test]
fn a_misspelt_setting_is_named() {
    let error = toml::from_str::<File>("[limits]\nmax_mesage = 5").unwrap_err();
    assert!(error.to_string().contains("max_mesage"), "{error}");
}

#[test]
fn the_documented_example_states_the_defaults() {
    let example = settings(&[], include_str!("../../hioload-server.toml"));
    let default = settings(&[], "");
    assert_eq!(format!("{example:?}"), format!("{default:?}"));
}

#[test]
fn development_mode_opens_the_chat_only_where_just_this_machine_can_reach_it() {
    for (args, file, insecure) in [
        (&[][..], "", false),
        (&["--dev"], "", true),
        (&["--dev", "--listen", "[::1]:80"], "", true),
        (&["--dev", "--listen", "0.0.0.0:80"], "", false),
        (&["--listen", "0.0.0.0:80"], "client.insecure = true", true),
    ] {
        let settings = settings(args, file);
        assert_eq!(settings.chat.insecure, insecure, "{args:?} {file:?}");
    }
}

#[test]
fn development_mode_on_this_machine_alone_has_a_channel_for_typing_and_an_admin_page() {
    let typing = |settings: &Settings| {
        let names = settings.chat.namespaces.iter().map(|one| &*one.name);
        names.filter(|name| *name == "typing").count()
    };
    let dev = settings(&["--dev"], "");
    assert_eq!((typing(&dev), &dev.admin), (1, &AdminAccess::Printed));
    let own = settings(&["--dev"], "[[namespace]]\nname = 'typing'");
    assert_eq!(typing(&own), 1);
    for (args, file) in [
        (&["--dev", "--listen", "0.0.0.0:80"][..], ""),
        (&[], ""),
        (&[], "client.insecure = true"),
    ] {
        let other = settings(args, file);
        assert_eq!((typing(&other), &other.admin), (0, &AdminAccess::Off));
    }
}
