//! Whether a token is an agent's: what the Kubernetes API says of it against what the operator expects (konnectivity's
//! `pkg/server`, section 3.3). Pure: who asks the API is [`super::reviews`]'s.
//!
//! Deliberately absent: what an agent with a good token may claim. As upstream's, any agent of the service account may
//! claim to stand for any node.

use k8s_openapi::api::authentication::v1::TokenReviewStatus;

use super::shown;

/// Begins the user name of every service account: `system:serviceaccount:<namespace>:<name>`.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// Whose tokens are agents'.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// `--agent-namespace`.
    pub(crate) namespace: String,
    /// `--agent-service-account`.
    pub(crate) service_account: String,
    /// `--authentication-audience`.
    pub(crate) audience: String,
}

/// Judges an answer.
///
/// # Errors
/// Why the token is no agent's, for the agent and for the log; nothing of the token is in it.
pub(crate) fn judge(expected: &Expected, status: Option<&TokenReviewStatus>) -> Result<(), String> {
    let Some(status) = status else { return Err("the Kubernetes API said nothing of the token".to_owned()) };
    if let Some(error) = status.error.as_deref().filter(|error| !error.is_empty()) {
        return Err(format!("the token was not authenticated: {}", shown(error)));
    }
    if status.authenticated != Some(true) {
        return Err("the token was not authenticated".to_owned());
    }
    // An API server that knows no audiences takes a token for any other purpose as well.
    let audiences = status.audiences.as_deref().unwrap_or_default();
    if !audiences.contains(&expected.audience) {
        let audience = &expected.audience;
        return Err(format!("the token is not for the audience {audience} (--authentication-audience)"));
    }
    let user = status.user.as_ref().and_then(|user| user.username.as_deref()).unwrap_or_default();
    let wanted = format!("{SERVICE_ACCOUNT}{}:{}", expected.namespace, expected.service_account);
    if user != wanted {
        return Err(format!(
            "the token is of {}, and agents are {wanted} (--agent-namespace, --agent-service-account)",
            shown(user)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn expected() -> Expected {
        let (namespace, service_account) = ("kube-system".to_owned(), "konnectivity-agent".to_owned());
        Expected { namespace, service_account, audience: "system:konnectivity-server".to_owned() }
    }

    fn good() -> TokenReviewStatus {
        TokenReviewStatus {
            audiences: Some(vec!["other".to_owned(), "system:konnectivity-server".to_owned()]),
            authenticated: Some(true),
            error: None,
            user: Some(UserInfo {
                username: Some("system:serviceaccount:kube-system:konnectivity-agent".to_owned()),
                ..UserInfo::default()
            }),
        }
    }

    fn of(name: &str) -> TokenReviewStatus {
        let user = UserInfo { username: Some(name.to_owned()), ..UserInfo::default() };
        TokenReviewStatus { user: Some(user), ..good() }
    }

    #[test]
    fn only_the_service_accounts_own_token_for_this_audience_is_an_agents() {
        assert_eq!(judge(&expected(), Some(&good())), Ok(()));
        let table = [
            (None, "said nothing"),
            (Some(TokenReviewStatus::default()), "not authenticated"),
            (Some(TokenReviewStatus { authenticated: Some(false), ..good() }), "not authenticated"),
            (
                Some(TokenReviewStatus { error: Some("expired\n".to_owned()), ..good() }),
                "authenticated: expired",
            ),
            (Some(TokenReviewStatus { audiences: None, ..good() }), "--authentication-audience"),
            (Some(TokenReviewStatus { audiences: Some(vec!["other".to_owned()]), ..good() }), "audience"),
            (Some(TokenReviewStatus { user: None, ..good() }), "the token is of ,"),
            (Some(of("system:serviceaccount:other:konnectivity-agent")), "--agent-namespace"),
            (Some(of("system:serviceaccount:kube-system:other")), "--agent-service-account"),
            (Some(of("system:serviceaccount:kube-system:konnectivity-agent:more")), "the token is of"),
            (Some(of("kube-system:konnectivity-agent")), "the token is of kube-system"),
            (Some(of("system:node:node-1")), "the token is of system:node:node-1"),
        ];
        for (status, why) in table {
            let refusal = judge(&expected(), status.as_ref()).unwrap_err();
            assert!(refusal.contains(why), "{refusal:?} lacks {why:?}");
        }
    }

    #[test]
    fn what_the_api_says_stays_on_its_line_and_short() {
        let status = TokenReviewStatus { error: Some("x\r\n\u{1b}[31m".repeat(1000)), ..good() };
        let refusal = judge(&expected(), Some(&status)).unwrap_err();
        assert!(refusal.len() < 400 && !refusal.contains(char::is_control), "{refusal:?}");
    }
}
