//! What matching costs: one pattern, and a table of many. The bar is 100 ns for a lookup in a table.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use trunkline_route::{Pattern, Subject, Table};

fn one_pattern(c: &mut Criterion) {
    let subject = Subject::new("orders.eu.berlin.new").unwrap();
    for text in [
        "orders.eu.berlin.new",
        "orders.*.*.new",
        "orders.>",
        "orders.*.rome.new",
    ] {
        let pattern = Pattern::new(text).unwrap();
        c.bench_function(&format!("match {text}"), |b| {
            b.iter(|| black_box(&pattern).matches(black_box(subject)))
        });
    }
}

fn many_patterns(c: &mut Criterion) {
    for count in [10, 1_000, 100_000] {
        let mut table = Table::with_seed(1);
        for nth in 0..count {
            let text = match nth % 4 {
                0 => format!("orders.r{nth}.*.new"),
                1 => format!("orders.r{nth}.>"),
                2 => format!("orders.r{nth}.berlin.new"),
                _ => format!("*.r{nth}.berlin.new"),
            };
            table.insert(&Pattern::new(&text).unwrap(), nth);
        }
        let subjects: Vec<String> = (0..64)
            .map(|nth| format!("orders.r{}.berlin.new", nth * 7919 % count))
            .collect();
        let subjects: Vec<Subject<'_>> = subjects
            .iter()
            .map(|text| Subject::new(text).unwrap())
            .collect();
        let mut nth = 0;
        c.bench_function(&format!("look up among {count} patterns"), |b| {
            b.iter(|| {
                nth = (nth + 1) % subjects.len();
                let mut sum = 0;
                table.each(black_box(subjects[nth]), |value| sum += value);
                sum
            });
        });
    }
}

criterion_group!(benches, one_pattern, many_patterns);
criterion_main!(benches);
