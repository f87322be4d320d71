//! Secrets that were planted are in no output and no file; a receiver that cannot prove who it is
//! gets nothing.

use crumbtrail_receiver::{
    Mode,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
        server::WebPkiClientVerifier,
    },
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::{
    program::Setup,
    remote::Program,
    report::{Case, case},
    world::{TRANSPORTS, World, exceptions, number},
};

const CANARY: &str = "c4nary-s3cret";

pub fn cases() -> Vec<Case> {
    let mut cases = vec![case("secrets: in no output, no file, no Debug text", planted), case("secrets: unusable settings", unusable)];
    for transport in TRANSPORTS {
        cases.push(case(format!("secrets: a redirect takes no key along, {transport}"), move || redirect(transport)));
        for (name, server, trusted) in [
            ("of a known authority", Server::Good, true),
            ("of another host", Server::OtherHost, false),
            ("expired", Server::Expired, false),
            ("of an unknown authority", Server::Unknown, false),
        ] {
            cases.push(case(format!("secrets: TLS, a certificate {name}, {transport}"), move || tls(transport, server, trusted)));
        }
        cases.push(case(format!("secrets: TLS with client certificates, {transport}"), move || mutual(transport)));
    }
    cases
}

fn planted() -> String {
    let mut places = 0;
    for mode in [Mode::Refuse, Mode::Silent, Mode::ResetInBody, Mode::Pass] {
        for transport in ["http", "grpc"] {
            let world = World::new(transport);
            world.set(mode);
            let port = world.proxy.address().port();
            let setup = Setup {
                endpoint: format!("http://user:{CANARY}@127.0.0.1:{port}/?key={CANARY}"),
                headers: vec![("api-key".to_owned(), CANARY.to_owned()), ("authorization".to_owned(), format!("Bearer {CANARY}"))],
                timeout_ms: Some(500),
                ..world.spooling()
            };
            let mut program = Program::start(&setup);
            program.ask("emit all 5");
            program.ask("panic 1");
            let mut said = vec![program.ask("flush 1500"), program.ask("stats"), program.ask("debug")];
            said.push(program.ask("shutdown 1000"));
            if mode == Mode::Pass {
                let arrivals = world.receiver.arrivals();
                assert!(!arrivals.is_empty());
                for arrival in arrivals {
                    assert_eq!(arrival.headers.get("api-key").map(String::as_str), Some(CANARY), "{:?}", arrival.headers);
                    assert!(arrival.headers.contains_key("authorization"), "{:?}", arrival.headers);
                }
            }
            let on_disk: Vec<Vec<u8>> = world.segments().iter().map(|file| std::fs::read(file).expect("readable")).collect();
            assert_eq!(on_disk.is_empty(), mode == Mode::Pass, "{mode:?}: {said:?}");
            let ended = program.end();
            let outputs = said.iter().map(ToString::to_string).chain([ended.stderr]).map(String::into_bytes).chain(on_disk);
            for output in outputs {
                places += 1;
                assert!(!String::from_utf8_lossy(&output).contains(CANARY), "{}", String::from_utf8_lossy(&output));
            }
        }
    }
    format!("0 found in {places} outputs and files")
}

/// What is wrong is said; what is in it is not.
fn unusable() -> String {
    let bad = |change: fn(&mut Setup)| {
        let mut setup = Setup { endpoint: "http://127.0.0.1:9".to_owned(), ..Setup::default() };
        change(&mut setup);
        let ended = Program::start(&setup).wait();
        assert_eq!(ended.code, Some(3));
        assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
    };
    bad(|setup| setup.endpoint = format!("ht tp://{CANARY}@nowhere"));
    bad(|setup| setup.headers = vec![("api-key".to_owned(), format!("{CANARY}\n"))]);
    bad(|setup| setup.certificate = Some(format!("-----BEGIN {CANARY}")));
    bad(|setup| setup.client = Some((CANARY.to_owned(), CANARY.to_owned())));
    bad(|setup| setup.proxy = Some(format!("::{CANARY}::")));
    let setup = Setup { from_env: true, ..Setup::default() };
    let unreadable = Program::start_as(&setup, |command| {
        command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", format!("/nonexistent/{CANARY}"));
    });
    let ended = unreadable.wait();
    assert_eq!(ended.code, Some(3), "a certificate that was asked for and cannot be read: {}", ended.stderr);
    let mut program = Program::start_as(&setup, |command| {
        command.env("OTEL_EXPORTER_OTLP_HEADERS", CANARY).env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("x://{CANARY}"));
        command.env("CRUMBTRAIL_STATE_DIR", "/proc/nonexistent");
    });
    program.ask("emit exceptions 1");
    program.ask("shutdown 100");
    let ended = program.end();
    assert!(!ended.stderr.contains(CANARY), "{}", ended.stderr);
    for said in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_ENDPOINT", "state directory"] {
        assert_eq!(ended.stderr.matches(said).count(), 1, "{said}: {}", ended.stderr);
    }
    "six refused with an Err, three variables said once each, no value shown".to_owned()
}

fn redirect(transport: &'static str) -> String {
    let (world, elsewhere) = (World::new(transport), World::new("http"));
    let location = format!("{}/v1/logs", elsewhere.receiver.http_endpoint());
    world
        .receiver
        .answer_by(move |_| crumbtrail_receiver::Answer::Status { status: 307, headers: vec![("location".to_owned(), location.clone())] });
    let mut program = Program::start(&Setup { headers: vec![("api-key".to_owned(), CANARY.to_owned())], ..world.setup() });
    program.ask("emit exceptions 3");
    program.ask("flush 5000");
    assert!(elsewhere.receiver.arrivals().is_empty(), "it was followed");
    assert_eq!(number(&program.ask("stats"), "exceptions", "lost"), 3);
    "not followed; 3 of 3 counted as lost".to_owned()
}

#[derive(Clone, Copy)]
enum Server {
    Good,
    OtherHost,
    Expired,
    Unknown,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A certificate and its key for a name.
fn issued(by: &CertifiedIssuer<'static, KeyPair>, name: &str, expired: bool) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    if expired {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }
    let certificate = params.signed_by(&key, by).expect("a certificate");
    (certificate, key)
}

fn server_config(
    (certificate, key): (rcgen::Certificate, KeyPair),
    clients: Option<&CertifiedIssuer<'static, KeyPair>>,
    transport: &str,
) -> ServerConfig {
    let provider = std::sync::Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().expect("versions");
    let builder = match clients {
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().expect("a verifier");
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let mut config = builder.with_single_cert(vec![CertificateDer::from(certificate.der().to_vec())], key).expect("a configuration");
    config.alpn_protocols = vec![if transport == "grpc" { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    config
}

fn tls(transport: &'static str, server: Server, trusted: bool) -> String {
    let (known, unknown) = (authority(), authority());
    let certificate = match server {
        Server::Good => issued(&known, "127.0.0.1", false),
        Server::OtherHost => issued(&known, "elsewhere.example", false),
        Server::Expired => issued(&known, "127.0.0.1", true),
        Server::Unknown => issued(&unknown, "127.0.0.1", false),
    };
    let world = World::with_tls(transport, Some(server_config(certificate, None, transport)));
    let mut program = Program::start(&Setup { certificate: Some(known.pem()), ..world.setup() });
    program.ask("emit exceptions 4");
    let flushed = program.ask(if trusted { "flush 20000" } else { "flush 8000" });
    assert_eq!(flushed["ok"].as_bool(), Some(trusted), "{flushed}");
    assert_eq!(exceptions(&world.receiver.received()).len(), if trusted { 4 } else { 0 });
    program.ask("shutdown 100");
    let ended = program.end();
    assert!(trusted || ended.stderr.contains("ertificate"), "the reason is said: {}", ended.stderr);
    if trusted { "delivered".to_owned() } else { "nothing was sent, and the reason is said".to_owned() }
}

fn mutual(transport: &'static str) -> String {
    let authority = authority();
    let config = server_config(issued(&authority, "127.0.0.1", false), Some(&authority), transport);
    let world = World::with_tls(transport, Some(config));
    let (certificate, key) = issued(&authority, "program", false);
    let known = Setup { certificate: Some(authority.pem()), ..world.setup() };
    let mut stranger = Program::start(&known);
    stranger.ask("emit exceptions 4");
    assert_eq!(stranger.ask("flush 2000")["ok"], false);
    let directory = world.directory.path();
    for (name, content) in [("ca", authority.pem()), ("certificate", certificate.pem()), ("key", key.serialize_pem())] {
        std::fs::write(directory.join(name), content).expect("written");
    }
    // From the environment, as deployments do it.
    let mut program = Program::start_as(&Setup { from_env: true, ..world.setup() }, |command| {
        for (variable, name) in [("CERTIFICATE", "ca"), ("CLIENT_CERTIFICATE", "certificate"), ("CLIENT_KEY", "key")] {
            command.env(format!("OTEL_EXPORTER_OTLP_{variable}"), directory.join(name));
        }
    });
    program.ask("emit exceptions 4");
    let flushed = program.ask("flush 20000");
    assert_eq!(flushed["ok"], true, "{flushed}");
    assert_eq!(exceptions(&world.receiver.received()).len(), 4);
    "4 of 4 with a certificate, 0 of 4 without".to_owned()
}
