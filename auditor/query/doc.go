// Package query answers the named questions that people ask of the store, and
// their own SQL. It only reads, best as a user of ClickHouse who can do no more.
package query
