//! Users: the calls with which they and their tokens are made, changed and ended.
//!
//! Who may what is decided by [`super::auth`]; here is its shape on the wire.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Extension, Json, Router};
use engine::observe::ClusterName;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::auth::{
    ApiToken, Denied, NewToken, NewUser, Objection, Password, Scope, User, UserName, UserPatch, Verified,
};
use super::caller::{Caller, Role};
use super::login::take_try;
use super::peer::Peer;
use super::problem::Problem;
use super::web::{App, Shared, read_json, to_wire};

type Answer<T> = Result<T, Problem>;

/// For whoever is logged in; see `caller` for who may what.
pub(super) fn private() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/users", get(users).post(add_user))
        .route("/api/v1/users/{name}", patch(change_user).delete(remove_user))
        .route("/api/v1/users/{name}/password", post(set_password))
        .route("/api/v1/tokens", get(tokens).post(add_token))
        .route("/api/v1/tokens/{id}", delete(revoke_token))
}

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
}

/// A user, without what is secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserView {
    name: String,
    role: Role,
    /// Null: all.
    clusters: Option<Vec<String>>,
    has_password: bool,
    disabled: bool,
    created_at: String,
    disabled_at: Option<String>,
}

impl From<User> for UserView {
    fn from(user: User) -> UserView {
        UserView {
            name: user.name.to_string(),
            role: user.role,
            clusters: words(&user.clusters),
            has_password: user.password.is_some(),
            disabled: user.disabled.is_some(),
            created_at: to_wire(user.created),
            disabled_at: user.disabled.map(to_wire),
        }
    }
}

/// A token, without what is secret.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenView {
    id: String,
    name: Box<str>,
    user: String,
    role: Role,
    /// Null: all.
    clusters: Option<Vec<String>>,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

impl From<ApiToken> for TokenView {
    fn from(token: ApiToken) -> TokenView {
        TokenView {
            id: token.id.to_string(),
            user: token.user.to_string(),
            role: token.role,
            clusters: words(&token.clusters),
            created_at: to_wire(token.created),
            expires_at: token.expires.map(to_wire),
            last_used_at: token.last_used.map(to_wire),
            revoked_at: token.revoked.map(to_wire),
            name: token.name,
        }
    }
}

async fn users(State(app): Shared, caller: Caller) -> Answer<Json<Items<UserView>>> {
    let items = app.auth.users(&caller)?.into_iter().map(UserView::from).collect();
    Ok(Json(Items { items }))
}

async fn add_user(State(app): Shared, caller: Caller, request: Request) -> Answer<Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        name: String,
        role: Role,
        clusters: Option<Vec<String>>,
        password: Option<String>,
    }
    const SHAPE: &str = r#"{"name": TEXT, "role": "viewer"|"operator"|"admin", "clusters": null|[TEXT], "password": null|TEXT}"#;
    let body: Body = read_json(&app.limits, request, SHAPE).await?;
    let new = NewUser {
        name: body.name.parse().map_err(malformed)?,
        role: body.role,
        clusters: scope(&app, body.clusters)?,
        password: body.password.map(Password::new),
    };
    let user = app.auth.add_user(&caller, new, Timestamp::now()).await?;
    let location = format!("/api/v1/users/{}", user.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(UserView::from(user))).into_response())
}

async fn change_user(
    State(app): Shared,
    caller: Caller,
    Path(name): Path<String>,
    request: Request,
) -> Answer<Json<UserView>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        role: Option<Role>,
        #[serde(default, deserialize_with = "given")]
        clusters: Option<Option<Vec<String>>>,
        disabled: Option<bool>,
    }
    const SHAPE: &str = r#"{"role": "viewer"|"operator"|"admin", "clusters": null|[TEXT], "disabled": BOOL}, each of which may be absent"#;
    let name = user_name(&name)?;
    let body: Body = read_json(&app.limits, request, SHAPE).await?;
    let clusters = body.clusters.map(|names| scope(&app, names)).transpose()?;
    let patch = UserPatch { role: body.role, clusters, disabled: body.disabled };
    Ok(Json(app.auth.change_user(&caller, &name, patch, Timestamp::now()).await?.into()))
}

async fn remove_user(State(app): Shared, caller: Caller, Path(name): Path<String>) -> Answer<StatusCode> {
    app.auth.remove_user(&caller, &user_name(&name)?, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_password(
    State(app): Shared,
    peer: Peer,
    Extension(verified): Extension<Verified>,
    Path(name): Path<String>,
    request: Request,
) -> Answer<StatusCode> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        old: Option<String>,
        new: String,
    }
    const SHAPE: &str = r#"{"old": TEXT, "new": TEXT}; an admin needs no old one for somebody else"#;
    let name = user_name(&name)?;
    let body: Body = read_json(&app.limits, request, SHAPE).await?;
    let by = (&verified.caller, verified.pass);
    let (old, new) = (body.old.map(Password::new), Password::new(body.new));
    // Whoever has found an open session does not guess the password in it any faster. Somebody else's is not guessed.
    let own = *verified.caller.name == *name.as_str();
    let tried = own.then(|| take_try(&app, peer, name.as_str(), true)).transpose()?;
    match app.auth.set_password(by, &name, old, new, Timestamp::now()).await {
        Ok(()) => {
            if let Some(tried) = tried {
                app.logins.succeeded(tried);
            }
            Ok(StatusCode::NO_CONTENT)
        }
        // Not 401: the login is as good as before.
        Err(Objection::Denied(denied @ Denied::Wrong)) => {
            Err(Problem::new(StatusCode::FORBIDDEN, denied.to_string()))
        }
        Err(objection) => Err(objection.into()),
    }
}

async fn tokens(State(app): Shared, caller: Caller) -> Json<Items<TokenView>> {
    Json(Items { items: app.auth.api_tokens(&caller).into_iter().map(TokenView::from).collect() })
}

async fn add_token(State(app): Shared, caller: Caller, request: Request) -> Answer<Response> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    struct Body {
        name: String,
        user: Option<String>,
        role: Option<Role>,
        clusters: Option<Vec<String>>,
        expires_at: Option<Timestamp>,
    }
    const SHAPE: &str = r#"{"name": TEXT, "user": TEXT, "role": "viewer"|"operator"|"admin", "clusters": null|[TEXT], "expiresAt": null|TIME}; only the name is needed"#;
    #[derive(Serialize)]
    struct Made {
        token: TokenView,
        /// Shown this once.
        secret: String,
    }
    let body: Body = read_json(&app.limits, request, SHAPE).await?;
    let new = NewToken {
        user: body.user.as_deref().unwrap_or(&caller.name).parse().map_err(malformed)?,
        name: body.name,
        role: body.role,
        clusters: scope(&app, body.clusters)?,
        expires: body.expires_at,
    };
    let (token, secret) = app.auth.add_token(&caller, new, Timestamp::now()).await?;
    let location = format!("/api/v1/tokens/{}", token.id);
    let made = Made { token: token.into(), secret };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

async fn revoke_token(State(app): Shared, caller: Caller, Path(id): Path<String>) -> Answer<StatusCode> {
    let id = id.parse().map_err(|_| Objection::NoSuchToken)?;
    app.auth.revoke_token(&caller, id, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is no name is nobody's.
fn user_name(text: &str) -> Answer<UserName> {
    Ok(text.parse().map_err(|_| Objection::NoSuchUser)?)
}

fn malformed(words: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, words)
}

/// Names of clusters that are watched: a misspelt one would be a right to nothing, found out when it is needed.
fn scope(app: &App, names: Option<Vec<String>>) -> Answer<Scope> {
    let Some(names) = names else { return Ok(None) };
    let watched = |name: &String| {
        app.pages.iter().map(|(watched, _)| watched).find(|watched| watched.as_str() == *name)
    };
    let found: Option<Box<[ClusterName]>> = names.iter().map(|name| watched(name).cloned()).collect();
    found.map(Some).ok_or_else(|| {
        let known: Vec<_> = app.pages.iter().map(|(name, _)| name.as_str()).collect();
        malformed(&format!("no such cluster is watched; there are {}", known.join(", ")))
    })
}

fn words(scope: &Scope) -> Option<Vec<String>> {
    scope.as_ref().map(|names| names.iter().map(ToString::to_string).collect())
}

/// Tells `null` from nothing.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
