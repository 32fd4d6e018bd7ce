package auditor_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/posternhq/postern/auditor"
	"github.com/posternhq/postern/auditor/store"
	"github.com/posternhq/postern/deploy/embedded"
	"github.com/posternhq/postern/deploy/embedded/embeddedtest"
	"github.com/posternhq/postern/events/eventstest"
)

func onShards(c *embeddedtest.Shards) func(*auditor.Config) {
	return func(cfg *auditor.Config) {
		cfg.Cluster, cfg.Sharded, cfg.OnCluster = embeddedtest.ShardsCluster, true, c.OnCluster
		cfg.ReaderDSN = c.DSN(0, embedded.Reader, "postern")
	}
}

// An auditor on two shards stores, judges and answers as on a single server.
func TestShardsStory(t *testing.T) {
	c := embeddedtest.StartShards(t, 2, "", nil)
	w := &world{t: t, dsn: c.DSN(0, embedded.Owner, "postern"), nc: eventstest.Connect(t)}
	w.j = eventstest.Open(t, w.nc)
	w.conn = embeddedtest.Open(t, w.dsn)
	w.start(onShards(c))
	storyHolds(t, w, c.DSN(0, embedded.Reader, "postern"), onShards(c))
}

// scopeUsers are the users of ScopeStatements on each shard.
func scopeUsers() string {
	var b strings.Builder
	b.WriteString("<" + store.ScopeUser + "><password>x</password><networks></networks><profile>reader</profile><quota>default</quota><grants>")
	for _, table := range store.ScopeTables() {
		fmt.Fprintf(&b, "<query>GRANT SELECT ON postern_shard.%s</query>", table)
	}
	b.WriteString("</grants><databases><postern_shard>")
	filters := store.ScopeFilters()
	for _, table := range slices.Sorted(maps.Keys(filters)) {
		fmt.Fprintf(&b, "<%[1]s><filter>%[2]s</filter></%[1]s>", table, strings.NewReplacer("&", "&amp;", "<", "&lt;").Replace(filters[table]))
	}
	b.WriteString("</postern_shard></databases></" + store.ScopeUser + ">" +
		"<scoped><password>scoped</password><networks><ip>127.0.0.1</ip></networks><profile>reader</profile><quota>default</quota><grants>" +
		"<query>GRANT SELECT ON postern_scoped.*</query><query>GRANT SELECT ON postern_shard_scoped.*</query></grants></scoped>")
	return b.String()
}

// Who may see one account sees nothing of the others, in whatever shard it is.
func TestShardsScope(t *testing.T) {
	t.Parallel()
	c := embeddedtest.StartShards(t, 2, scopeUsers(), nil)
	w, ca := scopeWorldOn(t, func(user string) string {
		if user == embedded.Scoped {
			return c.DSN(0, user, "postern_scoped")
		}
		return c.DSN(0, user, "postern")
	}, onShards(c))
	scopeHolds(t, w, ca, slices.Concat(attacks, []string{
		"SELECT * FROM postern_shard.request_rows",
		"SELECT * FROM postern_shard.requests",
		"SELECT * FROM postern_shard_scoped.requests",
		"SELECT *, _shard_num FROM requests",
		"SELECT * FROM cluster('shards', postern_shard.request_rows)",
		"SELECT * FROM clusterAllReplicas('shards', postern_shard.request_rows)",
		"SELECT * FROM clusterAllReplicas('shards', postern_shard_scoped.requests)",
		"SELECT * FROM clusterAllReplicas('shards', system.processes)",
		"SELECT * FROM (SELECT * FROM requests SETTINGS prefer_localhost_replica = 0)",
		"SELECT * FROM (SELECT * FROM requests SETTINGS prefer_localhost_replica = 0, serialize_query_plan = 1)",
		"SELECT * FROM (SELECT * FROM requests SETTINGS additional_table_filters = {'postern_shard.request_rows': '1'})",
		"SELECT * FROM (SELECT * FROM requests SETTINGS distributed_product_mode = 'local') WHERE account IN (SELECT account FROM requests)",
		"SELECT * FROM (SELECT * FROM requests SETTINGS distributed_group_by_no_merge = 1)",
		"SELECT * FROM requests WHERE request_id GLOBAL IN (SELECT request_id FROM requests)",
		"SELECT count() FROM (SELECT * FROM requests SETTINGS prefer_localhost_replica = 0) WHERE throwIf(user = 'user2', 'leak') = 0",
	}))
}
