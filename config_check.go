package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/posternhq/postern/auditor/tlog"
	"github.com/posternhq/postern/broker/policy"
	"github.com/posternhq/postern/events"
)

var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// leastAgentTTL is the shortest life of certificates that can be renewed in time.
const leastAgentTTL = 10 * time.Second

// check finds what the types can't: the key, dotted, and what is wrong.
func (c *Config) check() (key, problem string) {
	for _, part := range []func() (key, problem string){
		c.checkLog, c.checkDataDir, c.checkNATS, c.checkListens, c.checkNames, c.checkMetrics, c.checkApps, c.checkClickHouse, c.checkBroker, c.checkProxy, c.checkAuditor, c.checkPlaced,
	} {
		if key, problem = part(); problem != "" {
			return key, problem
		}
	}
	return "", ""
}

func (c *Config) checkLog() (key, problem string) {
	switch c.Log.Level {
	case "", "debug", "info", "warn", "error":
	default:
		return "log.level", "must be debug, info, warn or error"
	}
	switch c.Log.Format {
	case "", "json", "text":
	default:
		return "log.format", "must be json or text"
	}
	if c.Broker == nil && c.Proxy == nil && c.Auditor == nil {
		return "broker", "no service is enabled: give broker:, proxy: or auditor:"
	}
	return "", ""
}

// checkDataDir: it is made where it is not there yet.
func (c *Config) checkDataDir() (key, problem string) {
	switch info, err := os.Stat(c.DataDir); {
	case errors.Is(err, syscall.ENOTDIR):
		return "data_dir", c.DataDir + " lies below what is a file"
	case err == nil && !info.IsDir():
		return "data_dir", c.DataDir + " is a file, and no directory"
	}
	return "", ""
}

func (c *Config) checkNATS() (key, problem string) {
	n := &c.NATS
	switch {
	case n.Embedded && n.URL != "":
		return "nats.url", "embedded: true runs a server here; give one or the other"
	case !n.Embedded && n.URL == "" && !c.joins():
		return "nats", "give url: nats://HOST:4222, or embedded: true"
	case n.Embedded && c.Broker == nil && !c.joins():
		return "nats.embedded", "the broker, which makes the streams and credentials for them, does not run here: give the url of the server that it uses, or join: to each service"
	case n.Replicas != 0 && n.Replicas != 1 && n.Replicas != 3 && n.Replicas != 5:
		return "nats.replicas", "must be 1, 3 or 5"
	case n.Embedded && n.Replicas > 1:
		return "nats.replicas", "one embedded server holds one copy: leave it out"
	case !natsURL(n.URL):
		return "nats.url", "must be nats://HOST:PORT or tls://HOST:PORT; several are separated by commas"
	case !natsURL(n.PublicURL):
		return "nats.public_url", "must be nats://HOST:PORT or tls://HOST:PORT; several are separated by commas"
	}
	return firstMissing("nats.", []file{
		{"creds_file", n.CredsFile}, {"sealed_creds_file", n.SealedCredsFile}, {"push_creds_file", n.PushCredsFile},
		{"consumers_creds_file", n.ConsumersCredsFile}, {"ca_file", n.CAFile}, {"account_seed_file", n.AccountSeedFile},
	})
}

// checkListens finds addresses that can't be listened on, and two that are one.
func (c *Config) checkListens() (key, problem string) {
	type listen struct{ key, addr string }
	var all []listen
	if c.NATS.Embedded {
		all = append(all, listen{"nats.listen", c.NATS.Listen})
	}
	if c.Broker != nil {
		all = append(all, listen{"broker.listen", c.Broker.Listen})
	}
	if c.Proxy != nil {
		all = append(all, listen{"proxy.listen", c.Proxy.Listen})
	}
	if c.Auditor != nil {
		all = append(all, listen{"auditor.listen", c.Auditor.Listen})
	}
	if c.Metrics != nil {
		all = append(all, listen{"metrics.listen", c.Metrics.Listen})
	}
	for i, l := range all {
		host, port, err := net.SplitHostPort(l.addr)
		n, portErr := strconv.ParseUint(port, 10, 16)
		if err != nil || portErr != nil {
			return l.key, "must be HOST:PORT, with a port up to 65535"
		}
		for _, before := range all[:i] {
			other, otherPort, err := net.SplitHostPort(before.addr)
			if err == nil && n != 0 && otherPort == port && (host == other || everywhere(host) || everywhere(other)) {
				return l.key, fmt.Sprintf("%s is taken by %s: give each a port of its own", l.addr, before.key)
			}
		}
	}
	return "", ""
}

// hostName is a host's name, or "*." and a domain's, as certificates have them.
var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

// checkNames finds names that no certificate is good for.
func (c *Config) checkNames() (key, problem string) {
	of := map[string][]string{}
	if c.Broker != nil {
		of["broker"] = c.Broker.PublicNames
	}
	if c.Proxy != nil {
		of["proxy"] = c.Proxy.PublicNames
	}
	if c.Auditor != nil {
		of["auditor"] = c.Auditor.PublicNames
	}
	for _, service := range slices.Sorted(maps.Keys(of)) {
		for i, n := range of[service] {
			if net.ParseIP(n) == nil && !hostName.MatchString(n) {
				return fmt.Sprintf("%s.public_names[%d]", service, i), fmt.Sprintf("%q must be a host name or an address, without scheme and port, as users reach it", n)
			}
		}
	}
	return "", ""
}

func (c *Config) checkMetrics() (key, problem string) {
	if c.Metrics != nil && !loopback(c.Metrics.Listen) {
		return "metrics.listen", "must be HOST:PORT of this machine, such as 127.0.0.1:3090: whoever reaches it may read"
	}
	return "", ""
}

func (c *Config) checkClickHouse() (key, problem string) {
	ch := &c.ClickHouse
	if c.Auditor != nil {
		switch {
		case ch.Embedded && ch.DSN != "":
			return "clickhouse.dsn", "embedded: true runs a server here; give one or the other"
		case ch.Embedded && ch.Cluster != "":
			return "clickhouse.cluster", "the embedded server is alone: leave it out, or give the dsn of a server that is part of a cluster"
		case ch.Sharded && ch.Cluster == "":
			return "clickhouse.sharded", "the shards are those of a cluster: name it, by cluster"
		case !ch.Embedded && ch.DSN == "":
			return "clickhouse", "the auditor needs dsn: clickhouse://USER:PASSWORD@HOST:9000/DATABASE, or embedded: true"
		case !ch.Embedded && ch.ReaderDSN == "":
			return "clickhouse.reader_dsn", "give the DSN of a user that can only read: people's questions run as that user"
		}
	}
	for _, d := range []struct{ key, dsn string }{{"dsn", ch.DSN}, {"reader_dsn", ch.ReaderDSN}, {"scoped_dsn", ch.ScopedDSN}} {
		if d.dsn != "" && !clickHouseDSN(d.dsn) {
			return "clickhouse." + d.key, "must be clickhouse://USER:PASSWORD@HOST:9000/DATABASE, or over HTTP https://USER:PASSWORD@HOST:8443/DATABASE?secure=true, with options of the driver alone"
		}
	}
	if ch.MaxMemory < 0 {
		return "clickhouse.max_memory", "must not be negative: bytes; 0 is the default"
	}
	if key, problem = ch.checkAges(); problem != "" {
		return "clickhouse." + key, problem
	}
	return "", ""
}

func (c *Config) checkBroker() (key, problem string) {
	b := c.Broker
	if b == nil {
		return "", ""
	}
	for _, a := range []struct{ key, addr string }{{"public_addr", b.PublicAddr}, {"proxy_addr", b.ProxyAddr}, {"auditor_addr", b.AuditorAddr}} {
		if !hostPortAddr(a.addr) {
			return "broker." + a.key, "must be HOST:PORT, as users reach it"
		}
	}
	switch {
	case b.AgentTTL != 0 && b.AgentTTL < leastAgentTTL:
		return "broker.agent_ttl", "must be 10s or more: certificates are renewed after a third of it"
	case b.EC2MaxAge < 0:
		return "broker.ec2_max_age", "must not be negative"
	case !hostPortAddr(b.AWS.Dial):
		return "broker.aws.dial", "must be HOST:PORT"
	}
	for i, name := range b.EC2Certificates {
		if p := readable(name); p != "" {
			return fmt.Sprintf("broker.ec2_certificates[%d]", i), p
		}
	}
	return firstMissing("broker.", []file{{"seal_key_file", b.SealKeyFile}, {"aws.ca_file", b.AWS.CAFile}})
}

func (c *Config) checkProxy() (key, problem string) {
	p := c.Proxy
	if p == nil {
		return "", ""
	}
	switch {
	case p.MaxSilence < 0 || p.MaxSilence > 0 && p.MaxSilence < time.Second:
		return "proxy.max_silence", "must be 1s or more"
	case p.HoldFor < 0:
		return "proxy.hold_for", "must not be negative; 0 is the default"
	case !hostPortAddr(p.AWS.Dial):
		return "proxy.aws.dial", "must be HOST:PORT"
	case !hostPortAddr(p.PublicAddr):
		return "proxy.public_addr", "must be HOST:PORT, as users reach it"
	case p.PublicAddr != "" && p.Join == nil && c.Broker == nil:
		return "proxy.public_addr", "a proxy tells that to the broker it joins: give join:, or broker.proxies where the broker runs"
	}
	if _, faults := policy.Compile(events.Role{Name: "parameters", Allow: events.RoleConditions{AWSActions: p.RecordParameters}}, 0); len(faults) > 0 {
		return "proxy.record_parameters", faults[0].Err.Error()
	}
	return firstMissing("proxy.", []file{{"ticket_key_file", p.TicketKeyFile}, {"aws.ca_file", p.AWS.CAFile}})
}

func (c *Config) checkAuditor() (key, problem string) {
	a := c.Auditor
	if a == nil {
		return "", ""
	}
	switch {
	case a.TrailDelay < 0:
		return "auditor.trail_delay", "must not be negative"
	case a.Log.PublishEvery < 0:
		return "auditor.log.publish_every", "must not be negative"
	}
	if name, ok := strings.CutPrefix(a.Log.Bucket, "s3://"); a.Log.Bucket != "" && (!ok || !bucketName.MatchString(strings.SplitN(name, "/", 2)[0])) {
		return "auditor.log.bucket", "must be s3://BUCKET or s3://BUCKET/PREFIX"
	}
	for i, w := range a.Log.Witnesses {
		if err := tlog.Witness(w).Check(); err != nil {
			return fmt.Sprintf("auditor.log.witnesses[%d]", i), err.Error()
		}
	}
	if a.AWS != nil {
		if key, problem = a.AWS.check(); problem != "" {
			return "auditor.aws." + key, problem
		}
		return firstMissing("auditor.aws.", []file{{"ca_file", a.AWS.CAFile}})
	}
	return "", ""
}

// checkPlaced finds what is wrong with the places of services.
func (c *Config) checkPlaced() (key, problem string) {
	for _, one := range c.placed() {
		switch {
		case one.join != nil && c.Broker != nil:
			return one.kind + ".join", "the broker runs in this process: leave it out"
		case one.join != nil && one.tls != nil:
			return one.kind + ".join", "tls: has files of somebody else's; give one or the other"
		case one.join != nil:
			if key, problem := one.join.check(); key != "" {
				return one.kind + ".join." + key, problem
			}
		case c.Broker == nil && one.tls == nil:
			return one.kind + ".join", "give broker, ca_pin and token_file (postern tokens add): the broker, which would issue a certificate, runs elsewhere"
		}
		if one.tls == nil {
			continue
		}
		files := []file{{"cert_file", one.tls.CertFile}, {"key_file", one.tls.KeyFile}, {"client_ca_file", one.tls.ClientCAFile}}
		for _, f := range files {
			if f.path == "" {
				return one.kind + ".tls." + f.key, "missing: give cert_file, key_file and client_ca_file"
			}
		}
		if key, problem := firstMissing(one.kind+".tls.", files); problem != "" {
			return key, problem
		}
	}
	return "", ""
}

// file is a file that a key names.
type file struct{ key, path string }

// firstMissing finds the first file that is named and can't be found.
func firstMissing(section string, files []file) (key, problem string) {
	for _, f := range files {
		if p := readable(f.path); p != "" {
			return section + f.key, p
		}
	}
	return "", ""
}

func readable(path string) (problem string) {
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "no such file: " + path
	case err != nil:
		return err.Error()
	case info.IsDir():
		return path + " is a directory"
	}
	return ""
}

// hostPortAddr tells whether addr is HOST:PORT as others reach it, or empty.
func hostPortAddr(addr string) bool {
	if addr == "" {
		return true
	}
	host, port, err := net.SplitHostPort(addr)
	n, portErr := strconv.ParseUint(port, 10, 16)
	return err == nil && portErr == nil && n > 0 && host != "" && !strings.ContainsAny(host, "/@ ")
}

func everywhere(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// natsURL tells whether text is addresses of NATS servers, or empty.
func natsURL(text string) bool {
	if text == "" {
		return true
	}
	for _, one := range strings.Split(text, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		u, err := url.Parse(one)
		if err != nil || u.Hostname() == "" || u.Port() != "" && !hostPortAddr(u.Host) || u.Path != "" && u.Path != "/" {
			return false
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return false
		}
	}
	return true
}

// clickHouseDSN tells whether the driver can use an address. What is wrong with it is not
// told, because it may hold a password.
func clickHouseDSN(dsn string) bool {
	scheme, _, _ := strings.Cut(dsn, "://")
	switch scheme {
	case "clickhouse", "tcp", "http", "https":
	default:
		return false
	}
	o, err := clickhouse.ParseDSN(dsn)
	return err == nil && len(o.Addr) > 0
}

func (a *AuditorAWSConfig) check() (key, problem string) {
	if !hostPortAddr(a.Dial) {
		return "dial", "must be HOST:PORT"
	}
	if a.RoleARN != "" && (!strings.HasPrefix(a.RoleARN, "arn:") || !strings.Contains(a.RoleARN, ":role/")) {
		return "role_arn", "must be the ARN of an IAM role"
	}
	for _, q := range a.Queues {
		if !strings.HasPrefix(q, "https://") {
			return "queues", q + ": give the queue's URL, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME"
		}
	}
	return "", ""
}
