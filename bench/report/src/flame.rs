//! A flame graph of what `perf script` prints: how often each stack of calls was seen.
//!
//! The widest frames at the bottom are where everything passes; what stands on top is where the time goes. Siblings are in the order of their names.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bench_harness::Failure;

/// A function, and those that it called.
#[derive(Debug, Default)]
struct Frame {
    samples: u64,
    calls: BTreeMap<String, Frame>,
}

/// The picture of the stacks in `script`.
///
/// # Errors
/// There is no stack in it.
pub fn svg(title: &str, script: &str) -> Result<String, Failure> {
    let root = fold(script);
    if root.samples == 0 {
        return Err("no stack; it wants what `perf script` prints of a record made with -g".into());
    }
    let height = (root.depth() + 2) * ROW + 8;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" font-family=\"sans-serif\" \
         font-size=\"11\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"4\" y=\"16\" font-size=\"13\" font-weight=\"bold\">{}, {} \
         samples</text>",
        escaped(title),
        root.samples,
    );
    let scale = f64::from(WIDTH) / root.samples as f64;
    draw(&root, 0.0, height - ROW - 4, scale, root.samples, &mut text);
    text.push_str("</svg>\n");
    Ok(text)
}

/// Adds the stacks up.
fn fold(script: &str) -> Frame {
    let mut root = Frame::default();
    for sample in script.split("\n\n") {
        let calls: Vec<String> = sample.lines().filter_map(function).collect();
        if calls.is_empty() {
            continue;
        }
        root.samples += 1;
        // The innermost comes first.
        calls.into_iter().rev().fold(&mut root, |caller, name| {
            let frame = caller.calls.entry(name).or_default();
            frame.samples += 1;
            frame
        });
    }
    root
}

/// The function of a line `  ADDRESS function+0xOFFSET (FILE)`, marked when it is the kernel's; `None` for a sample's first
/// line and for what has no name.
fn function(line: &str) -> Option<String> {
    let rest = line.strip_prefix(['\t', ' '])?.trim_start();
    let (_, rest) = rest.split_once(' ')?;
    let (name, file) = rest.rsplit_once(" (")?;
    let name = name.rsplit_once("+0x").map_or(name, |(name, _)| name);
    if name == "[unknown]" {
        return None;
    }
    let kernel = if file.starts_with("[kernel") {
        KERNEL
    } else {
        ""
    };
    Some(format!("{name}{kernel}"))
}

impl Frame {
    fn depth(&self) -> u32 {
        let deepest = self.calls.values().map(Frame::depth).max();
        deepest.map_or(0, |depth| depth + 1)
    }
}

fn draw(frame: &Frame, mut x: f64, y: u32, scale: f64, all: u64, text: &mut String) {
    for (name, call) in &frame.calls {
        let width = call.samples as f64 * scale;
        if width >= NARROWEST {
            let (colour, shown) = match name.strip_suffix(KERNEL) {
                Some(name) => ("#c8cdd2", name),
                None if name.contains("trunkline") => ("#6fb1dc", name.as_str()),
                None => ("#f0d58c", name.as_str()),
            };
            let percent = 100.0 * call.samples as f64 / all as f64;
            let letters = (width / LETTER) as usize;
            let label: String = if letters < 3 {
                String::new()
            } else {
                shown.chars().take(letters).collect()
            };
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "<g><title>{name}: {percent:.1} %</title><rect x=\"{x:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\" \
                 fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{}\">{}</text></g>",
                (width - 0.5).max(0.2),
                ROW - 1,
                x + 2.0,
                y + 12,
                escaped(&label),
                name = escaped(shown),
            );
            draw(call, x, y.saturating_sub(ROW), scale, all, text);
        }
        x += width;
    }
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    text.replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: u32 = 1200;
const ROW: u32 = 16;
/// Narrower frames are left out, in pixels.
const NARROWEST: f64 = 1.5;
/// About the width of a letter.
const LETTER: f64 = 6.2;
const KERNEL: &str = "\u{0}";

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "worker-0 7 1.0: 1 cpu-clock:\n\tff copy+0x3 ([kernel.kallsyms])\n\t11 trunkline::turn+0x9 (/bin/trunkline)\n\n\
                          worker-0 7 1.1: 1 cpu-clock:\n\t12 trunkline::turn+0x1 (/bin/trunkline)\n\n";

    #[test]
    fn stacks_are_added_up_from_the_outside() {
        let root = fold(SCRIPT);
        assert_eq!(root.samples, 2);
        let turn = &root.calls["trunkline::turn"];
        assert_eq!((turn.samples, turn.calls.len()), (2, 1));
        assert_eq!(turn.calls[&format!("copy{KERNEL}")].samples, 1);
        assert_eq!(root.depth(), 2);
    }

    #[test]
    fn every_frame_says_its_share() {
        let picture = svg("a < b", SCRIPT).unwrap();
        assert!(picture.contains("a &lt; b, 2 samples"));
        assert!(picture.contains("<title>trunkline::turn: 100.0 %</title>"));
        assert!(picture.contains("<title>copy: 50.0 %</title>"));
        assert!(svg("nothing", "").is_err());
    }
}
