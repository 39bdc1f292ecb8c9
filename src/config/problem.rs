//! Configuration problems: all at once, each with its source and what to do.
//!
//! Invariant: a problem never shows the value of a key that looks like a secret.

use std::fmt;

use crate::config::layer::ValueSource;

/// One problem: what is wrong, its source, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Key (dotted), with its value where that may be shown; or another subject, such as a binding.
    pub subject: String,
    /// Variable, file or binding that has the problem.
    pub source: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl ConfigProblem {
    /// Creates a problem.
    pub fn of(
        subject: impl Into<String>,
        origin: &ValueSource,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::from_source(subject, origin.to_string(), message, hint)
    }

    /// Creates a problem whose source is not a settings layer, such as a binding.
    pub fn from_source(
        subject: impl Into<String>,
        source: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            subject: subject.into(),
            source: source.into(),
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.subject, self.source, self.message)
    }
}

/// All problems of a configuration; never empty as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct ConfigProblems(Vec<ConfigProblem>);

impl ConfigProblems {
    /// Adds one.
    pub fn push(&mut self, problem: ConfigProblem) {
        self.0.push(problem);
    }

    /// Adds all of another list.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    /// Returns the problems in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigProblem> {
        self.0.iter()
    }

    /// Returns whether there is no problem.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `value` if there is no problem.
    ///
    /// # Errors
    /// The problems, if there are any.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<ConfigProblem> for ConfigProblems {
    fn from(problem: ConfigProblem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {word} in the configuration", self.0.len())?;
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "\n  {}. {problem}\n     hint: {}", index + 1, problem.hint)?;
        }
        Ok(())
    }
}
