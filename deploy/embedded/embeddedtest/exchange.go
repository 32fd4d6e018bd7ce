package embeddedtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-faster/city"
)

// exchangeAddress is where all replicas say that others fetch their rows (givesAddress).
const exchangeAddress = "127.0.0.1:9009"

// exchangeVersion is that of ClickHouse's protocol between replicas which is spoken here
// (src/Storages/MergeTree/DataPartsExchange.cpp).
const exchangeVersion = "9"

// exchangeParts sends replicas the parts that others have, until the test ends: a server
// does so itself, but the engine has no such port. What is fetched, and checked by its sums
// as it arrives, is left to the engine. One test at a time has the address.
func (s *Shards) exchangeParts() {
	s.t.Helper()
	program, err := engineProgram()
	if err != nil {
		s.t.Fatal(err)
	}
	unlock, err := lock(filepath.Join(filepath.Dir(program), "exchange.lock"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(unlock)
	l, err := net.Listen("tcp", exchangeAddress)
	if err != nil {
		s.t.Skip("needs an address at which replicas fetch rows: ", err)
	}
	server := &http.Server{Handler: http.HandlerFunc(s.sendPart)}
	go func() { _ = server.Serve(l) }()
	s.t.Cleanup(func() { _ = server.Close() })
}

func (s *Shards) sendPart(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	dir, err := s.part(r.Context(), strings.TrimPrefix(q.Get("endpoint"), "DataPartsExchange:"), q.Get("part"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "server_protocol_version", Value: exchangeVersion})
	out := bufio.NewWriter(w)
	if err := writePart(out, dir); err != nil || out.Flush() != nil {
		panic(http.ErrAbortHandler) // the part was merged meanwhile, say: the replica asks again
	}
}

// part is the directory of a part of a table's replica, which has a path in ZooKeeper:
// .../SHARD/replicas/REPLICA.
func (s *Shards) part(ctx context.Context, path, name string) (string, error) {
	for i := range s.servers {
		if !strings.HasSuffix(path, "/"+s.inKeeper(i)) {
			continue
		}
		if !s.runs(i) {
			return "", fmt.Errorf("%s is down", path)
		}
		conn, err := s.conn(i, "default")
		if err != nil {
			return "", err
		}
		var dir string
		err = conn.QueryRow(ctx, `SELECT data_paths[1] FROM system.tables WHERE (database, name) IN (SELECT database, table FROM system.replicas WHERE replica_path = ?)`, path).Scan(&dir)
		return filepath.Join(dir, name), err
	}
	return "", fmt.Errorf("no replica is %s", path)
}

// writePart writes a part as replicas read it: its size, its TTLs, its kind and id, its
// projections, and its files.
func writePart(w *bufio.Writer, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var projections []string
	var size uint64
	kind := "Wide"
	for _, e := range entries {
		name, isProjection := strings.CutSuffix(e.Name(), ".proj")
		if isProjection {
			projections = append(projections, name)
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		size += uint64(info.Size())
		if strings.HasPrefix(e.Name(), "data.") && (strings.HasSuffix(e.Name(), "mrk3") || strings.HasSuffix(e.Name(), "mrk4")) {
			kind = "Compact"
		}
	}
	ttl, err := os.ReadFile(filepath.Join(dir, "ttl.txt"))
	if errors.Is(err, os.ErrNotExist) {
		ttl, err = []byte("ttl format version: 1\n{}"), nil
	}
	if err != nil {
		return err
	}
	writeNumber(w, size)
	writeText(w, ttl)
	writeText(w, []byte(kind))
	_, _ = w.WriteString("00000000-0000-0000-0000-000000000000") // parts have no ids of their own
	writeNumber(w, uint64(len(projections)))
	for _, name := range projections {
		writeText(w, []byte(name))
		if err := writeFiles(w, filepath.Join(dir, name+".proj")); err != nil {
			return err
		}
	}
	return writeFiles(w, dir)
}

func writeFiles(w *bufio.Writer, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.IsDir() || e.Name() == "txn_version.txt" })
	writeNumber(w, uint64(len(entries)))
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		writeText(w, []byte(e.Name()))
		writeNumber(w, uint64(len(data)))
		_, _ = w.Write(data)
		sum := hashOf(data)
		writeNumber(w, sum.Low)
		writeNumber(w, sum.High)
	}
	return nil
}

// hashOf is a file's sum as replicas make it, 2048 bytes at a time
// (src/IO/HashingWriteBuffer.h).
func hashOf(data []byte) (sum city.U128) {
	for block := range slices.Chunk(data, 2048) {
		sum = city.CH128Seed(block, sum)
	}
	return sum
}

func writeNumber(w io.Writer, n uint64) {
	_, _ = w.Write(binary.LittleEndian.AppendUint64(nil, n))
}

func writeText(w io.Writer, text []byte) {
	_, _ = w.Write(binary.AppendUvarint(nil, uint64(len(text))))
	_, _ = io.Copy(w, bytes.NewReader(text))
}
