//! The page as a reader of its source finds it.

use std::path::Path;
use std::sync::LazyLock;

use adit_bench::record::{ErrorCount, Sample};

use crate::{adit_bench, made_up, said, write};

/// Elements that have no end tag (HTML Living Standard, section 13.1.2).
const VOID: [&str; 5] = ["meta", "br", "link", "img", "hr"];

/// Makes the report of samples; `--hgrm` goes into the same folder.
fn report(folder: &Path, samples: &[Sample]) -> String {
    let file = write(&folder.join("a.jsonl"), samples);
    let (out, hgrm) = (folder.join("report.html"), folder.join("hgrm"));
    let output =
        adit_bench(&["report", &file, "--out", out.to_str().unwrap(), "--hgrm", hgrm.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    std::fs::read_to_string(out).unwrap()
}

/// The report of everything made up, made once.
fn whole() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        report(folder.path(), &made_up::samples())
    });
    &PAGE
}

/// Walks through the tags and checks that each is closed in turn; returns every start tag with its attributes.
fn tags(page: &str) -> Vec<String> {
    let (mut open, mut all) = (Vec::<&str>::new(), Vec::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(at) = rest.find('<') {
        let end = rest[at..].find('>').expect("an end of the tag") + at;
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closed in turn");
            continue;
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes are closed: {tag}");
        // A second attribute of the same name would be dropped without a word.
        let mut names: Vec<&str> =
            tag.split('"').step_by(2).filter_map(|part| part.trim().strip_suffix('=')).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "each attribute once: {tag}");
        all.push(tag.to_owned());
        let name = tag.split_whitespace().next().unwrap();
        if !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new(), "all are closed");
    all
}

#[test]
fn the_page_is_whole_and_needs_nothing_else() {
    let page = whole();
    // For whoever wants to look at it, and for `scripts/screenshot.sh`; another user than who built this may not write.
    let _ = std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("report.html"), page);
    let tags = tags(page);
    for tag in &tags {
        let name = tag.split_whitespace().next().unwrap();
        assert!(
            !["script", "link", "img", "iframe", "object", "image", "use", "foreignObject"].contains(&name),
            "{tag}"
        );
        for attribute in ["src=", "xlink:", "srcset=", " on"] {
            assert!(!tag.contains(attribute), "{tag}");
        }
        if let Some((_, target)) = tag.split_once("href=\"") {
            assert!(target.starts_with('#'), "{tag}");
        }
        if let Some((_, style)) = tag.split_once("style=\"") {
            assert!(style.starts_with("width:") || style.starts_with("min-width:"), "{tag}");
        }
    }
    for outside in ["http://", "https://", "//", "url(", "@import", "@font-face"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(
        tags.iter().any(|tag| tag.contains("Content-Security-Policy") && tag.contains("default-src 'none'"))
    );
    assert!(tags.iter().any(|tag| tag.contains("name=\"viewport\"")));
    let drawings: Vec<_> =
        tags.iter().filter(|tag| tag.starts_with("svg") && !tag.contains("class=\"key\"")).collect();
    assert!(drawings.len() > 40, "{}", drawings.len());
    assert!(drawings.iter().all(|tag| tag.contains("role=\"img\" aria-label=\"")), "all have their text");
    assert!(!page.contains("NaN") && !page.contains("inf"), "every place is a number");
}

#[test]
fn anchors_lead_somewhere() {
    let tags = tags(whole());
    let targets: Vec<&str> =
        tags.iter().filter_map(|tag| tag.split_once("href=\"#")?.1.split('"').next()).collect();
    assert_eq!(targets.len(), 14, "each workload of each network");
    for target in targets {
        assert_eq!(
            tags.iter().filter(|tag| tag.contains(&format!("id=\"{target}\""))).count(),
            1,
            "{target}"
        );
    }
}

#[test]
fn a_figure_with_errors_is_marked_and_the_errors_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let page = whole();
    assert!(page.contains("⚠\u{a0}4 of 294 samples with errors"), "at the top");
    assert!(page.contains("dial-timeout × 8: <q>dial: no answer within 5 s</q>"), "in the tables");
    assert!(page.contains("⚠\u{a0}8 errors"), "beside the figures");
    assert!(page.contains("(8 errors)"), "in the text of the drawings");

    let clean: Vec<_> = made_up::samples().into_iter().filter(Sample::is_clean).collect();
    let page = report(folder.path(), &clean);
    assert!(page.contains("✓\u{a0}All 290 samples without errors"));
    assert!(!page.contains('⚠'));

    let mut nothing = clean[0].clone();
    (nothing.operations, nothing.verified_up_bytes, nothing.verified_down_bytes) = (0, 0, 0);
    let page = report(folder.path(), &[nothing]);
    assert!(
        page.contains("nothing measured"),
        "a sample without anything is not taken for one without errors"
    );
}

#[test]
fn stamps_stand_at_the_top_once_and_where_they_differ_with_their_place() {
    let page = whole();
    for stamp in [
        "<dt>Kernel</dt><dd>6.18.0</dd>",
        "<dt>CPU</dt><dd>Imaginary CPU @ 2.80GHz</dd>",
        "<dt>Congestion control (TCP)</dt><dd>cubic</dd>",
        "<dt>MTU</dt><dd><span class=\"what\">loopback: </span>65536</dd>\
         <dd><span class=\"what\">veth-1500: </span>1500</dd>",
        "<dt>adit-uring</dt><dd><code>adit-uring --listen 10.0.0.1:4000 --to 10.0.1.1:5000</code></dd>",
        "<dt>GSO batch</dt><dd>10</dd>",
        "<dt>commit</dt><dd>0123456789abcdef</dd>",
    ] {
        assert_eq!(page.matches(stamp).count(), 1, "{stamp}");
    }
}

#[test]
fn hostile_labels_are_only_text() {
    let folder = tempfile::tempdir().unwrap();
    let evil = "\"><script>alert(1)</script><svg onload='x'>&amp;";
    let mut sample = made_up::samples().remove(0);
    let name = || evil.to_owned();
    (sample.system, sample.network, sample.workload) = (name(), name(), name());
    sample.settings.insert(name(), name());
    sample.stamp.more.insert(name(), name());
    sample.stamp.kernel = name();
    sample.figures.insert(name(), 1.0);
    sample.errors.insert(name(), ErrorCount { count: 1, examples: vec![name()] });
    let page = report(folder.path(), &[sample]);
    let names: Vec<String> =
        tags(&page).iter().map(|tag| tag.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(!names.contains(&"script".to_owned()));
    assert!(!page.contains("<script") && !page.contains("onload='x'>"));
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "shown as they are");
    for file in std::fs::read_dir(folder.path().join("hgrm")).into_iter().flatten() {
        assert!(file.unwrap().file_name().to_str().unwrap().ends_with(".hgrm"));
    }
}

#[test]
fn each_latency_of_each_system_has_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let samples = made_up::samples();
    report(folder.path(), &samples);
    let text =
        std::fs::read_to_string(folder.path().join("hgrm/adit-uring_veth-1500_dial_dial.hgrm")).unwrap();
    let of = |sample: &&Sample| {
        (sample.system.as_str(), sample.network.as_str(), sample.workload.as_str())
            == ("adit-uring", "veth-1500", "dial")
    };
    let all: u64 = samples.iter().filter(of).map(|sample| sample.operations).sum();
    assert!(text.contains(&format!("Total count    = {all:>12}]")), "{text}");
    // 7 systems, 2 networks, and ping-pong, dial, slow-reader and beside-bulk with one latency each.
    assert_eq!(std::fs::read_dir(folder.path().join("hgrm")).unwrap().count(), 7 * 2 * 4);
}

#[test]
fn what_cannot_be_reported_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder.path().join("empty.jsonl"), &[]);
    let output = adit_bench(&["report", &file]);
    assert!(!output.status.success());
    assert!(said(&output).contains("no sample"), "{}", said(&output));
    let output = adit_bench(&["report", "/nowhere/a.jsonl"]);
    assert!(said(&output).contains("/nowhere/a.jsonl: No such file"), "{}", said(&output));
}
