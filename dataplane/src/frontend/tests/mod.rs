//! Tests of the CONNECT head and of the answers.

mod answer;
mod http_connect;
