package store

import "testing"

// Blocks are compressed for other machines, and where the address says so.
func TestCompression(t *testing.T) {
	for dsn, want := range map[string]bool{
		"clickhouse://127.0.0.1:9000/p": false, "clickhouse://[::1]:9000/p": false, "clickhouse://localhost:9000/p": false,
		"clickhouse://ch.example:9000/p": true, "clickhouse://127.0.0.1:9000,10.0.0.7:9000/p": true,
		"clickhouse://127.0.0.1:9000/p?compress=lz4": true,
	} {
		conn, o, err := connect(dsn)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		if got := o.Compression != nil; got != want {
			t.Errorf("%s: compressed is %v, want %v", dsn, got, want)
		}
	}
}
