//! Calls of databases among the breadcrumbs of an exception: what each client says of its own
//! accord, and the few lines that make the others speak. Report 14.10.

use crumbtrail::testing::{self, Collected};
use tracing::{Instrument as _, error, info_span};

/// Category and message of each, oldest first.
fn crumbs(collected: &Collected) -> Vec<(String, String)> {
    let exceptions = collected.exceptions();
    assert_eq!(exceptions.len(), 1, "{collected:#?}");
    exceptions[0].breadcrumbs().iter().map(|crumb| (crumb.category().to_owned(), crumb.message().to_owned())).collect()
}

/// sqlx 0.9: an event for each query, at DEBUG, with the target `sqlx::query`. Without the values
/// that are bound.
#[test]
fn sqlx_leaves_its_queries() {
    use sqlx::Connection as _;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let request = async {
        let mut connection = sqlx::SqliteConnection::connect("sqlite::memory:").await.expect("a database");
        sqlx::query("create table todos (id integer primary key, text text)").execute(&mut connection).await.expect("created");
        sqlx::query("insert into todos (text) values (?)").bind("a secret").execute(&mut connection).await.expect("inserted");
        let failure = sqlx::query("select * from nowhere").fetch_all(&mut connection).await.expect_err("no such table");
        error!(error = &failure as &dyn std::error::Error, "listing by sqlx failed");
    };
    let (_, collected) = testing::collect(|| {
        // SQLite's statements run on a thread of sqlx's.
        tracing::dispatcher::get_default(|ours| tracing::dispatcher::set_global_default(ours.clone())).expect("the only one");
        runtime.block_on(request.instrument(info_span!("request")));
    });
    let crumbs = crumbs(&collected);
    let of_database: Vec<&str> = crumbs.iter().filter(|(category, _)| category == "db").map(|(_, message)| message.as_str()).collect();
    assert!(of_database.contains(&"insert into todos (text) values (?)"), "{crumbs:?}");
    assert!(!format!("{crumbs:?}").contains("a secret"));
}

/// diesel 2.3 says nothing to `tracing`; it has hooks of its own.
#[test]
fn diesel_is_heard_through_its_instrumentation() {
    use diesel::{Connection as _, RunQueryDsl as _, connection::InstrumentationEvent};
    let (_, collected) = testing::collect(|| {
        let mut connection = diesel::SqliteConnection::establish(":memory:").expect("a database");
        connection.set_instrumentation(|event: InstrumentationEvent<'_>| {
            if let InstrumentationEvent::FinishQuery { query, error, .. } = event {
                let outcome = error.map_or("done".to_owned(), ToString::to_string);
                crumbtrail::breadcrumb("db", &format!("{query} → {outcome}"));
            }
        });
        let _request = info_span!("request").entered();
        diesel::sql_query("create table todos (id integer)").execute(&mut connection).expect("created");
        let failure = diesel::sql_query("select * from nowhere").execute(&mut connection).expect_err("no such table");
        error!(error = &failure as &dyn std::error::Error, "listing by diesel failed");
    });
    let crumbs = crumbs(&collected);
    let of_database: Vec<&str> = crumbs.iter().filter(|(category, _)| category == "db").map(|(_, message)| message.as_str()).collect();
    assert_eq!(of_database.len(), 2, "{crumbs:?}");
    assert!(of_database[0].contains("create table todos (id integer)") && of_database[0].contains("→ done"), "{crumbs:?}");
    assert!(of_database[1].contains("select * from nowhere") && of_database[1].contains("no such table"), "{crumbs:?}");
}

/// redis 1 says nothing: a span around the call does.
#[test]
fn redis_is_heard_through_a_span() {
    let (_, collected) = testing::collect(|| {
        let _request = info_span!("request").entered();
        let client = redis::Client::open("redis://127.0.0.1:1/").expect("an address");
        let failure = info_span!("GET cart", db.system.name = "redis", db.operation.name = "GET")
            .in_scope(|| client.get_connection().map(drop))
            .expect_err("nobody is there");
        error!(error = &failure as &dyn std::error::Error, "no cart by redis");
    });
    let crumbs = crumbs(&collected);
    assert!(crumbs.iter().any(|(category, message)| category == "db" && message.contains("GET cart")), "{crumbs:?}");
}
