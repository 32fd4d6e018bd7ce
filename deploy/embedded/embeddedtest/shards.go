package embeddedtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/posternhq/postern/deploy/embedded"
)

// Shards is a cluster of ClickHouse servers, each of which is a shard, or one of as many
// replicas of each, which stand beside each other. Its servers find each other and answer
// for each other, but do nothing ON CLUSTER: that goes through OnCluster.
type Shards struct {
	t        testing.TB
	keeper   string // the address of ZooKeeper; "" where tables are not replicated
	replicas int    // of each shard
	dirs     []string
	ports    []int
	config   func(*embedded.ClickHouseConfig)
	users    string
	servers  []*embedded.ClickHouse
	stops    []func()

	mu    sync.Mutex
	conns map[string]driver.Conn
	up    map[int]bool
}

// ShardsCluster is its name.
const ShardsCluster = "shards"

// StartShards runs a cluster of n shards for the test. users is XML of more users, or more
// of those that there are, for all servers.
func StartShards(t testing.TB, n int, users string, edit func(*embedded.ClickHouseConfig)) *Shards {
	t.Helper()
	s := &Shards{t: t, replicas: 1, config: edit, users: users}
	s.start(n)
	return s
}

// StartReplicated is StartShards with a ZooKeeper, by which the tables of each shard are
// replicated, to as many servers. Where there is no ZooKeeper the test is skipped.
func StartReplicated(t testing.TB, n, replicas int) *Shards {
	t.Helper()
	lib := replicatingLib(t)
	s := &Shards{t: t, replicas: replicas, keeper: startZooKeeper(t), config: func(c *embedded.ClickHouseConfig) { c.Lib = lib }}
	if replicas > 1 {
		s.exchangeParts()
	}
	s.start(n)
	return s
}

func (s *Shards) start(n int) {
	s.t.Helper()
	s.conns, s.up = map[string]driver.Conn{}, map[int]bool{}
	for range n * s.replicas {
		s.add()
	}
	s.run()
}

// Replicated says whether the tables are.
func (s *Shards) Replicated() bool { return s.keeper != "" }

func (s *Shards) add() {
	s.t.Helper()
	s.ports = append(s.ports, Port(s.t))
	s.dirs = append(s.dirs, s.t.TempDir())
}

// Grow adds a shard after those that are there. All servers are started anew for it.
func (s *Shards) Grow() {
	s.t.Helper()
	for i := range s.servers {
		s.Stop(i)
	}
	for range s.replicas {
		s.add()
	}
	s.run()
}

// Stop ends a server, from 0: the first is the first replica of the first shard.
func (s *Shards) Stop(i int) {
	s.t.Helper()
	s.setUp(i, false)
	s.stops[i]()
}

func (s *Shards) setUp(i int, up bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up[i] = up
}

func (s *Shards) runs(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up[i]
}

// Start starts one again.
func (s *Shards) Start(i int) {
	s.t.Helper()
	s.servers[i] = NewClickHouse(s.t, func(c *embedded.ClickHouseConfig) {
		c.Dir, c.TCPPort, c.MaxMemory = s.dirs[i], s.ports[i], 1<<30
		if s.config != nil {
			s.config(c)
		}
	})
	s.stops[i] = Run(s.t, s.servers[i])
	s.setUp(i, true)
}

// run writes the servers' configurations and starts them. All have the same passwords.
func (s *Shards) run() {
	s.t.Helper()
	passwords, err := json.Marshal(map[string]string{embedded.Owner: "owner", embedded.Reader: "reader", embedded.Scoped: "scoped"})
	if err != nil {
		s.t.Fatal(err)
	}
	var cluster strings.Builder
	for shard := range slices.Chunk(s.ports, s.replicas) {
		cluster.WriteString("<shard><internal_replication>true</internal_replication>")
		for _, port := range shard {
			fmt.Fprintf(&cluster, "<replica><host>127.0.0.1</host><port>%d</port></replica>", port)
		}
		cluster.WriteString("</shard>")
	}
	files := map[string]string{
		"passwords.json":      string(passwords),
		"server.d/shards.xml": "<clickhouse><remote_servers><" + ShardsCluster + "><secret>secret</secret>" + cluster.String() + "</" + ShardsCluster + "></remote_servers></clickhouse>",
		"users.d/shards.xml": `<clickhouse><profiles><default><distributed_product_mode>global</distributed_product_mode></default>
			<reader><distributed_product_mode>global</distributed_product_mode><optimize_skip_unused_shards>1</optimize_skip_unused_shards></reader></profiles>
			<users><postern><grants replace="1">
				<query>GRANT ALL ON postern*.*</query>
				<query>GRANT SELECT ON system.*</query>
				<query>GRANT TABLE ENGINE ON Distributed</query>
				<query>GRANT READ, WRITE ON REMOTE</query>
				<query>GRANT SYSTEM FLUSH LOGS, KILL QUERY ON *.*</query>
				<query>GRANT SET DEFINER ON *</query>
			</grants></postern>` + s.users + `</users></clickhouse>`,
	}
	s.servers, s.stops = make([]*embedded.ClickHouse, len(s.ports)), make([]func(), len(s.ports))
	for i, dir := range s.dirs {
		if s.Replicated() {
			files["server.d/keeper.xml"] = s.keeperXML(i)
		}
		for name, text := range files {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				s.t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				s.t.Fatal(err)
			}
		}
		s.Start(i)
	}
}

// keeperXML is what makes tables of a server replicas. Without ON CLUSTER, paths can't name
// a table by an id that its replicas share. The engine has no id of its own, and a server
// ends the sessions of all others that have its.
func (s *Shards) keeperXML(i int) string {
	host, port, err := net.SplitHostPort(s.keeper)
	if err != nil {
		s.t.Fatal(err)
	}
	return fmt.Sprintf(`<clickhouse>
		<zookeeper><node><host>%s</host><port>%s</port></node><sessions_path>/sessions/%d</sessions_path>
			<operation_timeout_ms>120000</operation_timeout_ms><session_timeout_ms>120000</session_timeout_ms></zookeeper>
		<macros><shard>%d</shard><replica>%d</replica></macros>
		<default_replica_path>/tables/{database}/{table}/{shard}</default_replica_path>
	</clickhouse>`, host, port, i+1, i/s.replicas+1, i%s.replicas+1)
}

// inKeeper ends the path in ZooKeeper of a table of a server's.
func (s *Shards) inKeeper(i int) string {
	return fmt.Sprintf("%d/replicas/%d", i/s.replicas+1, i%s.replicas+1)
}

// DSN is the address of a shard's first server, from 0, for one of the embedded server's
// users.
func (s *Shards) DSN(shard int, user, database string) string {
	return s.ServerDSN(shard*s.replicas, user, database)
}

// ServerDSN is that of a server.
func (s *Shards) ServerDSN(i int, user, database string) string {
	u, err := url.Parse(s.servers[i].DSN(embedded.Owner))
	if err != nil {
		s.t.Fatal(err)
	}
	u.User, u.Path = url.UserPassword(user, map[string]string{embedded.Owner: "owner", embedded.Reader: "reader", embedded.Scoped: "scoped"}[user]), "/"+database
	return u.String()
}

// DSNs is that of all replicas of a shard, from 0.
func (s *Shards) DSNs(shard int, user, database string) string {
	u, err := url.Parse(s.DSN(shard, user, database))
	if err != nil {
		s.t.Fatal(err)
	}
	var hosts []string
	for _, port := range s.ports[shard*s.replicas:][:s.replicas] {
		hosts = append(hosts, fmt.Sprint("127.0.0.1:", port))
	}
	u.Host = strings.Join(hosts, ",")
	return u.String()
}

var replicated = regexp.MustCompile(`\bReplicated(\w*MergeTree)\b`)

// OnCluster runs a statement on all servers, or on one of each shard's if it is one that
// replicas tell each other of; without what needs a Keeper where there is none: for
// store.Config.OnCluster.
func (s *Shards) OnCluster(ctx context.Context, database, q string, args ...any) error {
	text, err := s.parsed(ctx, q, len(args) > 0)
	if err != nil {
		return err
	}
	q = strings.ReplaceAll(q, " ON CLUSTER `"+ShardsCluster+"`", "")
	if !s.Replicated() {
		q = strings.ReplaceAll(replicated.ReplaceAllString(q, "$1"), " replicated_deduplication_window", " non_replicated_deduplication_window")
	}
	done := map[int]bool{} // shards that have had it
	var late error
	for i := range s.servers {
		shard := i / s.replicas
		if done[shard] {
			continue
		}
		if !s.runs(i) { // it would do it when it is back
			if !strings.Contains(text, "null_status_on_timeout") {
				late = fmt.Errorf("server %d is down", i+1)
			}
			continue
		}
		conn, err := s.conn(i, database)
		if err == nil {
			done[shard], err = s.told(ctx, conn, text)
		}
		if err == nil {
			err = conn.Exec(ctx, q, args...)
		}
		if err != nil {
			return fmt.Errorf("server %d: %w", i+1, err)
		}
	}
	return late
}

// ofTable is a statement about a table that has rows.
var ofTable = regexp.MustCompile("^(?:ALTER|OPTIMIZE|TRUNCATE) TABLE `?(\\w+)`? ")

// told says whether replicas tell each other of a statement: distributed DDL gives it to
// one of them then (DDLWorker::taskShouldBeExecutedOnLeader in src/Interpreters).
func (s *Shards) told(ctx context.Context, conn driver.Conn, text string) (bool, error) {
	table := ofTable.FindStringSubmatch(text)
	if !s.Replicated() || table == nil || strings.Contains(text, "MODIFY SETTING") || strings.Contains(text, "RESET SETTING") {
		return false, nil
	}
	var n uint64
	err := conn.QueryRow(ctx, `SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = ? AND startsWith(engine, 'Replicated')`, table[1]).Scan(&n)
	return n > 0, err
}

// parsed makes sure that a statement is one as it is, and for all servers, and returns it
// in one line.
func (s *Shards) parsed(ctx context.Context, q string, bound bool) (text string, err error) {
	if bound { // formatQuery knows no question marks
		q = strings.ReplaceAll(q, "?", "''")
	}
	up := 0
	for !s.runs(up) {
		up++
	}
	conn, err := s.conn(up, "default")
	if err != nil {
		return "", err
	}
	if err := conn.QueryRow(ctx, "SELECT formatQuerySingleLine(?)", q).Scan(&text); err != nil {
		return "", fmt.Errorf("%s: %w", q, err)
	}
	if !strings.Contains(text, " ON CLUSTER "+ShardsCluster) {
		return "", fmt.Errorf("not for all servers: %s", text)
	}
	return text, nil
}

func (s *Shards) conn(i int, database string) (driver.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := fmt.Sprint(i, database)
	if s.conns[key] == nil {
		opts, err := clickhouse.ParseDSN(s.ServerDSN(i, embedded.Owner, database))
		if err != nil {
			return nil, err
		}
		conn, err := clickhouse.Open(opts)
		if err != nil {
			return nil, err
		}
		s.t.Cleanup(func() { _ = conn.Close() })
		s.conns[key] = conn
	}
	return s.conns[key], nil
}
