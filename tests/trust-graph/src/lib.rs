//! trust-graph
