//! Plan and findings as other programs read them.
//!
//! Formats: our own JSON; GitHub Actions' workflow commands; SARIF 2.1.0 (OASIS).

use serde_json::{Value, json};

use super::findings::{Code, Finding};
use super::needs::Use;
use super::plan::Plan;

/// Everything as JSON: `requirements` (name, class, uses with places), `unresolved`, `files` (path, changes),
/// `findings` (code, level, path, line, message, mend).
pub fn to_json(plan: &Plan, findings: &[Finding]) -> Value {
    let requirements: Vec<_> = plan
        .needs
        .distributions
        .values()
        .map(|need| {
            let uses: Vec<_> = need.uses.iter().map(used).collect();
            json!({"name": need.name, "class": need.class.word(), "imports": uses})
        })
        .collect();
    let unresolved: Vec<_> = plan
        .needs
        .unresolved
        .iter()
        .map(|one| {
            let mut value = used(&one.used);
            value["reason"] = json!(one.reason);
            value
        })
        .collect();
    let files: Vec<_> = plan
        .targets
        .iter()
        .map(|target| {
            let changes: Vec<_> = target.changes.iter().map(ToString::to_string).collect();
            json!({"path": target.path, "changed": target.is_changed(), "changes": changes})
        })
        .collect();
    let findings: Vec<_> = findings.iter().map(finding).collect();
    json!({"requirements": requirements, "unresolved": unresolved, "files": files, "findings": findings})
}

fn used(used: &Use) -> Value {
    let places: Vec<_> = used
        .places
        .iter()
        .map(|p| json!({"path": p.path, "line": p.line}))
        .collect();
    json!({"import": used.import, "class": used.class.word(), "places": places})
}

fn level(code: Code) -> &'static str {
    if code.is_error() { "error" } else { "warning" }
}

fn finding(finding: &Finding) -> Value {
    json!({
        "code": finding.code.word(),
        "level": level(finding.code),
        "path": finding.place.path,
        "line": finding.place.line,
        "message": finding.message,
        "mend": finding.mend,
    })
}

/// One finding as an annotation of GitHub Actions.
pub fn to_github(finding: &Finding) -> String {
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    format!(
        "::{} file={},line={},title={}::{}",
        level(finding.code),
        property(&finding.place.path),
        finding.place.line,
        property(finding.code.word()),
        data(&format!("{} ({})", finding.message, finding.mend)),
    )
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// The findings as a SARIF 2.1.0 log.
pub fn to_sarif(findings: &[Finding]) -> Value {
    let results: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "ruleId": finding.code.word(),
                "level": level(finding.code),
                "message": {"text": format!("{} ({})", finding.message, finding.mend)},
                "locations": [{"physicalLocation": {
                    "artifactLocation": {"uri": uri(&finding.place.path), "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": finding.place.line},
                }}],
            })
        })
        .collect();
    let mut rules: Vec<_> = findings.iter().map(|finding| finding.code).collect();
    rules.sort();
    rules.dedup();
    let rules: Vec<_> = rules
        .into_iter()
        .map(|code| json!({"id": code.word()}))
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "git-agile", "version": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "results": results,
        }],
    })
}

/// A path as a relative URI (RFC 3986).
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::needs::Place;

    #[test]
    fn foreign_text_cannot_break_a_format() {
        let finding = Finding {
            code: Code::Missing,
            place: Place {
                path: "a b:,\n.py".into(),
                line: 3,
            },
            message: "50%\n::error::x".into(),
            mend: "y".into(),
        };
        assert_eq!(
            to_github(&finding),
            "::error file=a b%3A%2C%0A.py,line=3,title=missing::50%25%0A::error::x (y)"
        );
        let sarif = to_sarif(&[finding]);
        let place = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b%3A%2C%0A.py");
    }
}
