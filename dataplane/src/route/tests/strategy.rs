//! `--proxy-strategies`.

use crate::route::{Strategy, StrategyError};

#[test]
fn strategies_are_read_as_upstream_reads_them() {
    use Strategy::{Default, DefaultRoute, DestHost};
    assert_eq!(Strategy::parse_list("default"), Ok(vec![Default]));
    assert_eq!(Strategy::parse_list(",default,,"), Ok(vec![Default]));
    assert_eq!(Strategy::parse_list("destHost,default"), Ok(vec![DestHost, Default]));
    assert_eq!(
        Strategy::parse_list("destHost,defaultRoute,default"),
        Ok(vec![DestHost, DefaultRoute, Default])
    );
    for empty in ["", ","] {
        assert_eq!(Strategy::parse_list(empty), Err(StrategyError::Empty));
    }
    for unknown in ["Default", " default", "desthost", "default_route", "nonsense"] {
        assert_eq!(Strategy::parse_list(unknown), Err(StrategyError::Unknown(unknown.to_owned())));
        assert!(Strategy::parse_list(&format!("default,{unknown}")).is_err());
    }
}

#[test]
fn an_unknown_strategy_is_told_the_known_ones() {
    let text = Strategy::parse_list("destHost, default").unwrap_err().to_string();
    assert!(text.contains("\" default\""), "{text}");
    for strategy in [Strategy::DestHost, Strategy::DefaultRoute, Strategy::Default] {
        assert!(text.contains(strategy.name()), "{text}");
        assert_eq!(Strategy::parse_list(strategy.name()), Ok(vec![strategy]));
        assert_eq!(strategy.to_string(), strategy.name());
    }
}
