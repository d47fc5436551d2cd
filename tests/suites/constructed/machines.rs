//! Each machine of `tests/machines/`: NAME.yaml is the machine, NAME.json a resource list, NAME.txt what the subcommands give for both.
//!
//! `UPDATE_EXPECT=1` writes the last; docs/machines.md describes the first.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect_file;
use serde_json::Value;
use sriov_lab::checkout::workspace;
use sriov_node::machine::{Constructed, Machine, anonymous, capture};
use sriov_testkit::plugin;

/// The machine files, sorted.
fn files() -> Vec<PathBuf> {
    let dir = workspace().join("tests/machines");
    let entries = fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() > 30, "{files:?}");
    files
}

fn parse(file: &Path) -> Machine {
    let machine = Machine::parse(&fs::read_to_string(file).unwrap());
    machine.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What a subcommand prints for a machine, below its command line.
fn section(file: &Path, list: &Path, words: &[&str]) -> String {
    let output = Command::new(plugin::binary().unwrap())
        .arg(format!("--config-file={}", list.display()))
        .args(words)
        .arg(format!("--machine={}", file.display()))
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}: {error}", file.display());
    let dir = format!("{}/", file.parent().unwrap().display());
    let answer = String::from_utf8(output.stdout).unwrap() + &error;
    let text = format!("$ {}\n{answer}\n", words.join(" "));
    text.replace(&dir, "")
}

#[test]
fn each_machine_gives_the_expected_pools() {
    for file in files() {
        let list = file.with_extension("json");
        let text = fs::read_to_string(&list).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let mut answer = section(&file, &list, &["inventory"]);
        answer += &section(&file, &list, &["check-config", list.to_str().unwrap()]);
        for resource in document["resourceList"].as_array().unwrap() {
            let name = resource["resourceName"].as_str().unwrap();
            answer += &section(&file, &list, &["explain", name]);
        }
        expect_file![file.with_extension("txt")].assert_eq(answer.trim_end());
    }
}

#[test]
fn captured_machine_is_the_constructed_one() {
    for file in files() {
        let machine = parse(&file);
        let constructed = Constructed::new(&machine).unwrap();
        let captured = capture(constructed.root()).unwrap();
        assert_eq!(captured.missing, Vec::<String>::new(), "{}", file.display());
        assert_eq!(captured.machine, machine, "{}", file.display());
    }
}

#[test]
fn anonymous_machine_has_the_same_devices() {
    for file in files() {
        let machine = parse(&file);
        let anonymous = anonymous(&machine, false).machine;
        let text = anonymous.to_text();
        // `capture` prints what the other subcommands accept.
        let reread = Machine::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(reread, anonymous, "{text}");
        let constructed = Constructed::new(&reread).unwrap();
        let captured = capture(constructed.root()).unwrap().machine;
        assert_eq!(captured, anonymous, "{text}");
    }
}

#[test]
fn capture_prints_an_anonymous_file_and_the_replaced_names() {
    let file = workspace().join("tests/machines/two-pfs-82576.yaml");
    let constructed = Constructed::new(&parse(&file)).unwrap();
    let root = constructed.root().path().display().to_string();
    let capture = |words: &[&str]| {
        let output = Command::new(plugin::binary().unwrap())
            .args([&["capture", "--host-root", &root], words].concat())
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    let (text, notes) = capture(&[]);
    assert_eq!(
        notes.lines().next(),
        Some("the name `orders` is `wb` in the file")
    );
    let is_kept = |word| text.contains(word);
    assert!(
        is_kept("0000:01:10.3") && !is_kept("trading") && !is_kept("orders"),
        "{text}"
    );
    let (text, notes) = capture(&["--keep-names"]);
    assert_eq!(notes, "");
    assert!(text.contains("trading1v0"), "{text}");
}

#[test]
fn wrong_machine_file_is_one_error_with_all_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("m.yaml");
    fs::write(&file, "functions: {0000:01:00.0: {id: '8086', class: x}}").unwrap();
    for (file, expected) in [
        (
            file.as_path(),
            "cannot use the machine file `DIR/m.yaml`: functions.0000:01:00.0.id: `8086` is not a vendor and device id: expected `vvvv:dddd` in lower-case hexadecimal; functions.0000:01:00.0.class: `x` is not a class: expected four or six hexadecimal digits\n",
        ),
        (
            &dir.path().join("n.yaml"),
            "cannot read the machine file `DIR/n.yaml`: No such file or directory (os error 2)\n",
        ),
    ] {
        let output = Command::new(plugin::binary().unwrap())
            .args(["inventory", "--config-file=/nowhere", "--machine"])
            .arg(file)
            .output()
            .unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        let error = String::from_utf8(output.stderr).unwrap();
        let error = error.replace(&dir.path().display().to_string(), "DIR");
        let (_, error) = error.split_once("sriov-device-plugin: ").unwrap();
        assert_eq!(error, expected);
    }
}

#[test]
fn example_of_the_documentation_is_a_machine() {
    let page = fs::read_to_string(workspace().join("docs/machines.md")).unwrap();
    let example = page.split("```yaml\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let machine = Machine::parse(example).unwrap();
    let constructed = Constructed::new(&machine).unwrap();
    assert_eq!(capture(constructed.root()).unwrap().machine, machine);
}
