package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"
)

// check finds what the types can't: the key, dotted, and what is wrong.
func (c *Config) check() (key, problem string) {
	oneOf := func(v string, of ...string) bool {
		for _, o := range of {
			if v == o {
				return true
			}
		}
		return v == ""
	}
	addr := func(v string) bool {
		_, _, err := net.SplitHostPort(v)
		return v == "" || err == nil
	}
	readable := func(path string) string {
		if path == "" {
			return ""
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return "no such file: " + path
		} else if err != nil {
			return err.Error()
		}
		return ""
	}
	if !oneOf(c.Log.Level, "debug", "info", "warn", "error") {
		return "log.level", "must be debug, info, warn or error"
	}
	if !oneOf(c.Log.Format, "json", "text") {
		return "log.format", "must be json or text"
	}
	if c.Auditor != nil && c.Auditor.Log.Bucket != "" && !strings.HasPrefix(c.Auditor.Log.Bucket, "s3://") {
		return "auditor.log.bucket", "must be s3://BUCKET or s3://BUCKET/PREFIX"
	}
	if c.Broker == nil && c.Proxy == nil && c.Auditor == nil {
		return "broker", "no service is enabled: give broker:, proxy: or auditor:"
	}
	switch {
	case c.NATS.Embedded && c.NATS.URL != "":
		return "nats.url", "embedded: true runs a server here; give one or the other"
	case !c.NATS.Embedded && c.NATS.URL == "" && !c.joins():
		return "nats", "give url: nats://HOST:4222, or embedded: true"
	case c.NATS.Replicas != 0 && c.NATS.Replicas != 1 && c.NATS.Replicas != 3 && c.NATS.Replicas != 5:
		return "nats.replicas", "must be 1, 3 or 5"
	case c.NATS.Embedded && c.NATS.Replicas > 1:
		return "nats.replicas", "one embedded server holds one copy: leave it out"
	case !addr(c.NATS.Listen):
		return "nats.listen", "must be HOST:PORT"
	case c.Metrics != nil && c.Metrics.Listen != "" && !loopback(c.Metrics.Listen):
		return "metrics.listen", "must be HOST:PORT of this machine, such as 127.0.0.1:3090: whoever reaches it may read"
	}
	if p := readable(c.NATS.CredsFile); p != "" {
		return "nats.creds_file", p
	}
	if p := readable(c.NATS.SealedCredsFile); p != "" {
		return "nats.sealed_creds_file", p
	}
	if p := readable(c.NATS.PushCredsFile); p != "" {
		return "nats.push_creds_file", p
	}
	if p := readable(c.NATS.ConsumersCredsFile); p != "" {
		return "nats.consumers_creds_file", p
	}
	if p := readable(c.NATS.CAFile); p != "" {
		return "nats.ca_file", p
	}
	if key, problem := c.checkApps(); problem != "" {
		return key, problem
	}
	if c.Auditor != nil {
		switch {
		case c.ClickHouse.Embedded && c.ClickHouse.DSN != "":
			return "clickhouse.dsn", "embedded: true runs a server here; give one or the other"
		case c.ClickHouse.Embedded && c.ClickHouse.Cluster != "":
			return "clickhouse.cluster", "the embedded server is alone: leave it out, or give the dsn of a server that is part of a cluster"
		case c.ClickHouse.Sharded && c.ClickHouse.Cluster == "":
			return "clickhouse.sharded", "the shards are those of a cluster: name it, by cluster"
		case !c.ClickHouse.Embedded && c.ClickHouse.DSN == "":
			return "clickhouse", "the auditor needs dsn: clickhouse://USER:PASSWORD@HOST:9000/DATABASE, or embedded: true"
		case !c.ClickHouse.Embedded && c.ClickHouse.ReaderDSN == "":
			return "clickhouse.reader_dsn", "give the DSN of a user that can only read: people's questions run as that user"
		case !addr(c.Auditor.Listen):
			return "auditor.listen", "must be HOST:PORT"
		case c.Auditor.TrailDelay < 0:
			return "auditor.trail_delay", "must not be negative"
		case c.Auditor.Log.PublishEvery < 0:
			return "auditor.log.publish_every", "must not be negative"
		}
	}
	if key, p := c.ClickHouse.checkAges(); p != "" {
		return "clickhouse." + key, p
	}
	if c.Auditor != nil && c.Auditor.AWS != nil {
		if key, p := c.Auditor.AWS.check(); p != "" {
			return "auditor.aws." + key, p
		}
		if p := readable(c.Auditor.AWS.CAFile); p != "" {
			return "auditor.aws.ca_file", p
		}
	}
	if c.Broker != nil && !addr(c.Broker.Listen) {
		return "broker.listen", "must be HOST:PORT"
	}
	if c.Broker != nil {
		if p := readable(c.Broker.SealKeyFile); p != "" {
			return "broker.seal_key_file", p
		}
	}
	if c.Proxy != nil {
		switch {
		case !addr(c.Proxy.Listen):
			return "proxy.listen", "must be HOST:PORT"
		case c.Proxy.MaxSilence < 0 || c.Proxy.MaxSilence > 0 && c.Proxy.MaxSilence < time.Second:
			return "proxy.max_silence", "must be 1s or more"
		case !addr(c.Proxy.AWS.Dial):
			return "proxy.aws.dial", "must be HOST:PORT"
		case !addr(c.Proxy.PublicAddr):
			return "proxy.public_addr", "must be HOST:PORT"
		case c.Proxy.PublicAddr != "" && c.Proxy.Join == nil && c.Broker == nil:
			return "proxy.public_addr", "a proxy tells that to the broker it joins: give join:, or broker.proxies where the broker runs"
		}
		if p := readable(c.Proxy.AWS.CAFile); p != "" {
			return "proxy.aws.ca_file", p
		}
	}
	for _, one := range c.placed() {
		switch {
		case one.join != nil && c.Broker != nil:
			return one.key + ".join", "the broker runs in this process: leave it out"
		case one.join != nil && one.tls != nil:
			return one.key + ".join", "tls: has files of somebody else's; give one or the other"
		case one.join != nil:
			if key, problem := one.join.check(); key != "" {
				return one.key + ".join." + key, problem
			}
		case c.Broker == nil && one.tls == nil:
			return one.key + ".join", "give broker, ca_pin and token_file (postern tokens add): the broker, which would issue a certificate, runs elsewhere"
		}
	}
	return "", ""
}

func (a *AuditorAWSConfig) check() (key, problem string) {
	if _, _, err := net.SplitHostPort(a.Dial); a.Dial != "" && err != nil {
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
