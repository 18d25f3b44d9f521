//! Prometheus' text format, version 0.0.4: families, samples, escapes, and OpenTelemetry's rules for turning its names
//! and units into Prometheus' names. Knows nothing of where the numbers come from.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

/// What a family holds, as its `# TYPE` line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
}

/// A page of metrics under construction; families come out in order of name.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    families: BTreeMap<String, Family>,
}

/// The samples of one name.
#[derive(Debug)]
pub(crate) struct Family {
    kind: Kind,
    help: String,
    name: String,
    samples: String,
}

/// A float as Prometheus writes it.
pub(crate) struct Float(pub(crate) f64);

impl Exposition {
    /// The family of that name; `None` if the name already stands for another kind, since one page cannot say both.
    pub(crate) fn family(&mut self, name: &str, kind: Kind, help: &str) -> Option<&mut Family> {
        let family = self.families.entry(name.to_owned()).or_insert_with(|| Family {
            kind,
            help: help.to_owned(),
            name: name.to_owned(),
            samples: String::new(),
        });
        (family.kind == kind).then_some(family)
    }

    /// A family of one sample without labels.
    pub(crate) fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        if let Some(family) = self.family(name, kind, help) {
            family.sample("", "", value);
        }
    }

    pub(crate) fn finish(self) -> String {
        let mut page = String::new();
        for (name, family) in self.families {
            if !family.help.is_empty() {
                let help = family.help.replace('\\', r"\\").replace('\n', r"\n");
                page.push_str(&format!("# HELP {name} {help}\n"));
            }
            page.push_str(&format!("# TYPE {name} {}\n{}", family.kind, family.samples));
        }
        page
    }
}

impl Family {
    /// One line; `labels` is what [`Labels::finish`] made.
    pub(crate) fn sample(&mut self, suffix: &str, labels: &str, value: impl Display) {
        let Self { name, samples, .. } = self;
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        samples.push_str(&format!("{name}{suffix}{labels} {value}\n"));
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        })
    }
}

impl Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            value if value == f64::INFINITY => f.write_str("+Inf"),
            value if value == f64::NEG_INFINITY => f.write_str("-Inf"),
            value => write!(f, "{value}"),
        }
    }
}

/// Labels of one sample, sorted by name. Names that become equal share a label, their values joined by `;`.
#[derive(Debug, Default)]
pub(crate) struct Labels(BTreeMap<String, String>);

impl Labels {
    pub(crate) fn add(&mut self, key: &str, value: &str) {
        self.0
            .entry(label_name(key))
            .and_modify(|known| {
                known.push(';');
                known.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }

    /// `a="1",b="2"`, without the braces.
    pub(crate) fn finish(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(name);
            text.push_str("=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str(r"\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str(r"\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
        }
        text
    }
}

/// `labels` with one more at the end, as buckets and quantiles have it.
pub(crate) fn with_label(labels: &str, name: &str, value: impl Display) -> String {
    let mut text = labels.to_owned();
    if !text.is_empty() {
        text.push(',');
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{name}=\"{value}\"");
    text
}

/// A Prometheus name from an OpenTelemetry name, unit and kind: illegal characters out, unit and `_total` behind, unless
/// the name says them already.
pub(crate) fn metric_name(name: &str, unit: &str, kind: Kind) -> String {
    let mut words: Vec<&str> = name
        .split(|c: char| !c.is_ascii_alphanumeric() && c != ':')
        .filter(|word| !word.is_empty())
        .collect();
    let (unit, per) = unit.split_once('/').unwrap_or((unit, ""));
    let unit = match unit.trim() {
        // Only a gauge of unit 1 is a ratio; a count of things has the same unit.
        "1" if kind != Kind::Gauge => "",
        unit => unit_word(unit),
    };
    if !unit.is_empty() && !words.contains(&unit) {
        words.push(unit);
    }
    let per = per_word(per.trim());
    if !per.is_empty() && !words.contains(&per) {
        words.extend(["per", per]);
    }
    if kind == Kind::Counter {
        words.retain(|word| *word != "total");
        words.push("total");
    }
    let joined = words.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// UCUM to the words Prometheus uses; annotations in braces say what is counted, not a unit.
fn unit_word(unit: &str) -> &str {
    match unit {
        "1" => "ratio",
        "%" => "percent",
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "kBy" | "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        other if other.bytes().all(|b| b.is_ascii_alphanumeric()) => other,
        _ => "",
    }
}

fn per_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" | "min" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other if other.bytes().all(|b| b.is_ascii_alphanumeric()) => other,
        _ => "",
    }
}

fn label_name(key: &str) -> String {
    let clean: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if clean.starts_with(|c: char| c.is_ascii_digit()) { format!("key_{clean}") } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_opentelemetrys_rules() {
        use Kind::{Counter, Gauge, Histogram};
        for (name, unit, kind, expected) in [
            (
                "messaging.client.operation.duration",
                "s",
                Histogram,
                "messaging_client_operation_duration_seconds",
            ),
            ("messaging.client.sent.messages", "{message}", Counter, "messaging_client_sent_messages_total"),
            ("disk.io", "By", Counter, "disk_io_bytes_total"),
            ("disk.io.bytes", "By", Counter, "disk_io_bytes_total"),
            ("requests_total", "1", Counter, "requests_total"),
            ("cpu.utilization", "1", Gauge, "cpu_utilization_ratio"),
            ("cpu.utilization_ratio", "1", Gauge, "cpu_utilization_ratio"),
            ("speed", "m/s", Gauge, "speed_meters_per_second"),
            ("hits", "{hit}/s", Gauge, "hits_per_second"),
            ("size", "1", Histogram, "size"),
            ("2xx..rate", "", Gauge, "_2xx_rate"),
            ("a:b", "", Gauge, "a:b"),
            ("caf\u{e9}", "", Gauge, "caf"),
        ] {
            assert_eq!(metric_name(name, unit, kind), expected, "{name} {unit}");
        }
    }

    #[test]
    fn labels_are_escaped_sorted_and_merged() {
        let mut labels = Labels::default();
        for (key, value) in [("z", "say \"hi\"\n"), ("a.b", "1"), ("a_b", "2"), ("1st", "c:\\")] {
            labels.add(key, value);
        }
        assert_eq!(labels.finish(), r#"a_b="1;2",key_1st="c:\\",z="say \"hi\"\n""#);
        assert_eq!(with_label("", "le", Float(f64::INFINITY)), "le=\"+Inf\"");
    }

    #[test]
    fn one_name_stands_for_one_kind() {
        let mut page = Exposition::default();
        page.single("b", Kind::Gauge, "two\nlines", Float(1.5));
        page.single("b", Kind::Counter, "", 2);
        page.single("a_total", Kind::Counter, "", 3);
        let expected = "# TYPE a_total counter\na_total 3\n# HELP b two\\nlines\n# TYPE b gauge\nb 1.5\n";
        assert_eq!(page.finish(), expected);
    }
}
