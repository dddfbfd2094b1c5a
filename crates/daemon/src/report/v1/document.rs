//! Document: OpenAPI 3.1 of all calls, made of the code that answers them.
//!
//! What calls have in common is written here once: who may ask, how they are refused, and that a client may be told that
//! it has the answer already. It is public: it says how to ask and nothing about what is watched.

use std::sync::OnceLock;

use axum::http::Method;
use axum::response::Response;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{OpenApi, RefOr, Schema};

use super::answer::Has;
use super::params::{Asked, Nothing};
use crate::report::caller::needed;
use crate::report::problem::{MEDIA_TYPE, Problem, Wrong};
use crate::report::refusal::Error;
use crate::report::{login, web};

/// What a program has to know before it asks.
const DESCRIPTION: &str = "Watches Proxmox VE clusters and tells what happens to them. Calls under `/api/v1` refuse with \
     problems (RFC 9457); the older ones, for the page of the original JARVIS, with `{\"error\"}`. Times are ISO 8601 in \
     UTC. Lists go page by page: give `next` back as `cursor`, or follow the `Link`. What is seen and recorded has an \
     ETag. New fields and new words may be added; none is taken away or renamed.";

/// The document as it is served and printed.
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| format!("{:#}\n", document(&web::described())))
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "jarvis", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Value)))]
pub(super) async fn openapi(has: Has, _: Asked<Nothing>) -> Response {
    has.answer_bytes(text().as_bytes().to_vec())
}

/// Every call that was described, with what all of them have in common.
fn document(described: &OpenApi) -> Value {
    let mut document = json!(described);
    document["info"] = json!({
        "title": "Jarvis",
        "version": env!("CARGO_PKG_VERSION"),
        "description": DESCRIPTION,
        "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
    });
    document["security"] = json!([{ "bearer": [] }, { "session": [] }]);
    document["tags"] = json!([
        { "name": "seen", "description": "What is seen of the clusters, and when." },
        { "name": "recorded", "description": "What happened, newest first." },
        { "name": "operators", "description": "What operators say and announce." },
        { "name": "jarvis", "description": "Jarvis itself." },
        { "name": "who", "description": "Logins of pages, users and API tokens." },
        { "name": "original", "description": "The calls of the original JARVIS; they speak of the first cluster only." },
    ]);
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "For programs: what a login or an API token gave.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": login::SESSION_COOKIE,
            "description": format!(
                "For pages of the same origin. Whatever changes something needs the header `{}` as well.",
                login::CSRF_HEADER
            ),
        },
    });
    for (name, schema) in [schema::<Problem>(), schema::<Wrong>(), schema::<Error>()] {
        components["schemas"][name] = json!(schema);
    }
    components["responses"] = json!({
        "NotModified": { "description": "The client has it already: see `If-None-Match`." },
        "Problem": refused(MEDIA_TYPE, "Problem"),
        "Refused": refused("application/json", "Error"),
    });
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, calls) in paths {
        for (method, call) in calls.as_object_mut().into_iter().flatten() {
            common(path, method, call);
        }
    }
    document
}

fn schema<T: ToSchema>() -> (String, RefOr<Schema>) {
    (T::name().into_owned(), T::schema())
}

fn refused(media_type: &str, schema: &str) -> Value {
    let schema = json!({ "$ref": format!("#/components/schemas/{schema}") });
    json!({ "description": "Why it was not done.", "content": { media_type: { "schema": schema } } })
}

/// Whether a call takes a parameter.
fn takes(call: &Value, name: &str) -> bool {
    let parameters = call.get("parameters").and_then(Value::as_array);
    parameters.is_some_and(|all| all.iter().any(|one| one["name"] == name))
}

/// What every call may answer besides what it says itself.
fn common(path: &str, method: &str, call: &mut Value) {
    let ours = path.starts_with("/api/v1/");
    let public = call.get("security").is_some();
    let mut statuses = vec!["400", "405", "500", "503"];
    if !public {
        statuses.extend(["401", "403"]);
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap_or_default();
        call["x-role"] = json!(needed(&method, path));
    }
    if path.contains('{') || takes(call, "cluster") {
        statuses.push("404");
    }
    if method != "get" {
        statuses.extend(["408", "409", "413", "429"]);
    }
    if path.ends_with("/export") {
        statuses.extend(["429", "505"]);
    }
    // Nobody logs in with a body that a form of another page could send.
    if (ours || public) && call.get("requestBody").is_some() {
        statuses.push("415");
    }
    for (_, response) in call["responses"].as_object_mut().into_iter().flatten() {
        if response.get("description").is_none_or(|text| text == "") && response.get("$ref").is_none() {
            response["description"] = json!("What was asked for.");
        }
    }
    let response = if ours { "Problem" } else { "Refused" };
    for status in statuses {
        if call["responses"].get(status).is_none() {
            call["responses"][status] = json!({ "$ref": format!("#/components/responses/{response}") });
        }
    }
    // Who somebody is, and whom there is, no browser keeps.
    if !ours || method != "get" || call["tags"][0] == "who" {
        return;
    }
    // A file that is made while it is read has no tag: nobody knows its content before its end.
    if call["responses"]["200"]["content"].get("application/json").is_none() {
        return;
    }
    call["responses"]["304"] = json!({ "$ref": "#/components/responses/NotModified" });
    let etag =
        json!({ "description": "Names this answer.", "schema": { "type": "string" }, "required": true });
    call["responses"]["200"]["headers"]["ETag"] = etag;
    if takes(call, "cursor") {
        let link =
            json!({ "description": "The next page, where there is one.", "schema": { "type": "string" } });
        call["responses"]["200"]["headers"]["Link"] = link;
    }
}
