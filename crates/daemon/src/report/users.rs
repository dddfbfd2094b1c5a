//! Users: the calls with which they and their tokens are made, changed and ended.
//!
//! Who may what is decided by [`super::auth`]; here is its shape on the wire.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use engine::observe::ClusterName;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{
    ApiToken, Denied, NewToken, NewUser, Objection, Password, Scope, User, UserName, UserPatch, Verified,
};
use super::caller::{Caller, Role};
use super::login::{Browser, take_own_try};
use super::peer::Peer;
use super::problem::Problem;
use super::v1::{Asked, Nothing};
use super::web::{App, Shared, read_json, to_wire};

type Answer<T> = Result<T, Problem>;

/// For whoever is logged in; see `caller` for who may what.
pub(super) fn private() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(users, add_user))
        .routes(routes!(change_user, remove_user))
        .routes(routes!(set_password))
        .routes(routes!(tokens, add_token))
        .routes(routes!(revoke_token))
}

/// All users.
#[derive(Serialize, ToSchema)]
struct UserList {
    items: Vec<UserView>,
}

/// All tokens that the caller may know of.
#[derive(Serialize, ToSchema)]
struct TokenList {
    items: Vec<TokenView>,
}

/// A user, without what is secret.
#[derive(Serialize, ToSchema)]
#[schema(as = User)]
#[serde(rename_all = "camelCase")]
struct UserView {
    name: String,
    role: Role,
    /// Null: all.
    clusters: Option<Vec<String>>,
    has_password: bool,
    disabled: bool,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
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
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
#[serde(rename_all = "camelCase")]
struct TokenView {
    #[schema(format = Uuid)]
    id: String,
    #[schema(value_type = String)]
    name: Box<str>,
    user: String,
    role: Role,
    /// Null: all.
    clusters: Option<Vec<String>>,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    #[schema(format = DateTime)]
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

/// Who may log in.
#[utoipa::path(get, path = "/api/v1/users", tag = "who", responses((status = 200, body = UserList)))]
async fn users(State(app): Shared, caller: Caller, _: Asked<Nothing>) -> Answer<Json<UserList>> {
    let items = app.auth.users(&caller)?.into_iter().map(UserView::from).collect();
    Ok(Json(UserList { items }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewUser)]
#[serde(deny_unknown_fields)]
struct UserBody {
    #[schema(pattern = "^[a-z0-9][a-z0-9._@-]*$", max_length = 64)]
    name: String,
    role: Role,
    /// The clusters that the role is for; null: all.
    clusters: Option<Vec<String>>,
    /// 8 to 1,024 bytes; null: nobody logs in by that name, and it has tokens only.
    password: Option<String>,
}

/// Makes a user.
#[utoipa::path(post, path = "/api/v1/users", tag = "who", request_body = UserBody,
    responses((status = 201, body = UserView, headers(("Location" = String, description = "The user's address.")))))]
async fn add_user(
    State(app): Shared,
    caller: Caller,
    _: Asked<Nothing>,
    request: Request,
) -> Answer<Response> {
    const SHAPE: &str = r#"{"name": TEXT, "role": "viewer"|"operator"|"admin", "clusters": null|[TEXT], "password": null|TEXT}"#;
    let body: UserBody = read_json(&app.limits, request, SHAPE).await?;
    let new = NewUser {
        name: body.name.parse().map_err(malformed)?,
        role: body.role,
        clusters: scope(&app, &caller, body.clusters)?,
        password: body.password.map(Password::new),
    };
    let user = app.auth.add_user(&caller, new, Timestamp::now()).await?;
    let location = format!("/api/v1/users/{}", user.name);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(UserView::from(user))).into_response())
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    role: Option<Role>,
    /// The clusters that the role is for; null: all.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vec<String>>)]
    clusters: Option<Option<Vec<String>>>,
    /// Ends every login and keeps every token from working, until it is taken back.
    disabled: Option<bool>,
}

/// Changes what is given, and nothing else.
#[utoipa::path(patch, path = "/api/v1/users/{name}", tag = "who", request_body = UserChange,
    params(("name" = String, Path, description = "The user's name")), responses((status = 200, body = UserView)))]
async fn change_user(
    State(app): Shared,
    caller: Caller,
    Path(name): Path<String>,
    _: Asked<Nothing>,
    request: Request,
) -> Answer<Json<UserView>> {
    const SHAPE: &str = r#"{"role": "viewer"|"operator"|"admin", "clusters": null|[TEXT], "disabled": BOOL}, each of which may be absent"#;
    let name = user_name(&name)?;
    let body: UserChange = read_json(&app.limits, request, SHAPE).await?;
    let clusters = body.clusters.map(|names| scope(&app, &caller, names)).transpose()?;
    let patch = UserPatch { role: body.role, clusters, disabled: body.disabled };
    Ok(Json(app.auth.change_user(&caller, &name, patch, Timestamp::now()).await?.into()))
}

/// Removes a user with all tokens and logins.
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "who",
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 204, description = "There is no such user any more.")))]
async fn remove_user(
    State(app): Shared,
    caller: Caller,
    _: Asked<Nothing>,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    app.auth.remove_user(&caller, &user_name(&name)?, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewPassword)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    /// One's own; an admin needs none for somebody else.
    old: Option<String>,
    /// 8 to 1,024 bytes.
    new: String,
}

/// Sets a password.
#[utoipa::path(post, path = "/api/v1/users/{name}/password", tag = "who", request_body = PasswordBody,
    params(("name" = String, Path, description = "The user's name")),
    responses((status = 204, description = "It is the new one from now on.")))]
async fn set_password(
    State(app): Shared,
    peer: Peer,
    Extension(verified): Extension<Verified>,
    Path(name): Path<String>,
    _: Asked<Nothing>,
    request: Request,
) -> Answer<StatusCode> {
    const SHAPE: &str = r#"{"old": TEXT, "new": TEXT}; an admin needs no old one for somebody else"#;
    let name = user_name(&name)?;
    let browser = Browser::of(peer, request.headers());
    let body: PasswordBody = read_json(&app.limits, request, SHAPE).await?;
    let by = (&verified.caller, verified.pass);
    let (old, new) = (body.old.map(Password::new), Password::new(body.new));
    // Whoever has found an open session does not guess the password in it any faster. Somebody else's is not guessed.
    let own = *verified.caller.name == *name.as_str();
    let tried = own.then(|| take_own_try(&app, &browser, name.as_str())).transpose()?;
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

/// The API tokens: an admin's list has everybody's.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "who", responses((status = 200, body = TokenList)))]
async fn tokens(State(app): Shared, caller: Caller, _: Asked<Nothing>) -> Json<TokenList> {
    Json(TokenList { items: app.auth.api_tokens(&caller).into_iter().map(TokenView::from).collect() })
}

#[derive(Deserialize, ToSchema)]
#[schema(as = NewToken)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TokenBody {
    /// What it is for.
    name: String,
    /// Whose; one's own where it is left out.
    user: Option<String>,
    /// At most the user's, which it is where it is left out.
    role: Option<Role>,
    /// At most the user's, which they are where they are left out.
    clusters: Option<Vec<String>>,
    /// Null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// A new token.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeToken)]
struct Made {
    token: TokenView,
    /// Shown this once.
    secret: String,
}

/// Makes an API token, for whoever has logged in: a token makes none.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "who", request_body = TokenBody,
    responses((status = 201, body = Made, headers(("Location" = String, description = "The token's address.")))))]
async fn add_token(
    State(app): Shared,
    caller: Caller,
    _: Asked<Nothing>,
    request: Request,
) -> Answer<Response> {
    const SHAPE: &str = r#"{"name": TEXT, "user": TEXT, "role": "viewer"|"operator"|"admin", "clusters": null|[TEXT], "expiresAt": null|TIME}; only the name is needed"#;
    let body: TokenBody = read_json(&app.limits, request, SHAPE).await?;
    let new = NewToken {
        user: body.user.as_deref().unwrap_or(&caller.name).parse().map_err(malformed)?,
        name: body.name,
        role: body.role,
        clusters: scope(&app, &caller, body.clusters)?,
        expires: body.expires_at,
    };
    let (token, secret) = app.auth.add_token(&caller, new, Timestamp::now()).await?;
    let location = format!("/api/v1/tokens/{}", token.id);
    let made = Made { token: token.into(), secret };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// Ends an API token at once, also for open sockets. Who asks with an API token ends that one, or is an admin.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "who",
    params(("id" = String, Path, description = "The token's id")),
    responses((status = 204, description = "It is no good any more.")))]
async fn revoke_token(
    State(app): Shared,
    Extension(verified): Extension<Verified>,
    _: Asked<Nothing>,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = id.parse().map_err(|_| Objection::NoSuchToken)?;
    app.auth.revoke_token((&verified.caller, verified.pass), id, Timestamp::now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is no name is nobody's.
fn user_name(text: &str) -> Answer<UserName> {
    Ok(text.parse().map_err(|_| Objection::NoSuchUser)?)
}

fn malformed(words: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, words.to_owned())
}

/// Names of clusters that are watched: a misspelt one would be a right to nothing, found out when it is needed.
fn scope(app: &App, caller: &Caller, names: Option<Vec<String>>) -> Answer<Scope> {
    let Some(names) = names else { return Ok(None) };
    // Whoever may not see a cluster does not learn here that it exists.
    let seen = || app.pages.iter().map(|(watched, _)| watched).filter(|watched| caller.sees(watched));
    let watched = |name: &String| seen().find(|watched| watched.as_str() == *name);
    let found: Option<Box<[ClusterName]>> = names.iter().map(|name| watched(name).cloned()).collect();
    found.map(Some).ok_or_else(|| {
        let known: Vec<_> = seen().map(ClusterName::as_str).collect();
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
