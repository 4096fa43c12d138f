//! The command line of a group.

use std::path::PathBuf;

use clap::Args;

/// What every group understands.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Few and short samples: to see that it works, and what is grossly wrong
    #[arg(long)]
    pub quick: bool,

    /// Only our own contenders
    #[arg(long)]
    pub ours: bool,

    /// Only rows whose name contains all words of this
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub row: String,

    /// Only contenders whose name contains one of these
    #[arg(long, value_name = "TEXT,…", value_delimiter = ',')]
    pub contender: Vec<String>,

    /// Add the samples to this file, and leave out the rows that are complete in it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Where servers and logs keep their files while they are measured [default: the directory for temporary files]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// Name the rows and contenders, and measure nothing
    #[arg(long)]
    pub list: bool,
}

impl Options {
    /// Where servers and logs keep their files.
    pub fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(std::env::temp_dir)
    }

    pub fn wants_row(&self, name: &str) -> bool {
        self.row.split_whitespace().all(|word| name.contains(word))
    }

    pub fn wants_contender(&self, name: &str) -> bool {
        self.contender.is_empty()
            || self
                .contender
                .iter()
                .any(|part| name.contains(part.as_str()))
    }
}
