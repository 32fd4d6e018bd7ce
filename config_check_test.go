package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfigCheck: what cannot work is refused, by line and key, in words of the file.
func TestConfigCheck(t *testing.T) {
	const core = "nats: {embedded: true}\nbroker: {}\n"
	const alone = "nats: {url: \"nats://n:4222\"}\n"
	const audits = "nats: {embedded: true}\nbroker: {}\nclickhouse: {embedded: true}\n"
	const joins = "join: {broker: \"b:3080\", ca_pin: \"sha256:0000000000000000000000000000000000000000000000000000000000000000\", token_file: t}"
	for _, c := range []struct{ name, text, want string }{
		{"a port that is none", "nats: {embedded: true, listen: \"127.0.0.1:abc\"}\nbroker: {}\n", "line 1: nats.listen: must be HOST:PORT"},
		{"a port too great", "nats: {embedded: true}\nbroker:\n  listen: 127.0.0.1:99999\n", "line 3: broker.listen: must be HOST:PORT"},
		{"one port for two", "nats: {embedded: true}\nbroker: {listen: \"127.0.0.1:3080\"}\nproxy: {listen: \"0.0.0.0:3080\"}\n", "line 3: proxy.listen: 0.0.0.0:3080 is taken by broker.listen"},
		{"streams that nobody makes", "nats: {embedded: true}\nproxy: {tls: {cert_file: FILE, key_file: FILE, client_ca_file: FILE}}\n", "line 1: nats.embedded: the broker, which makes the streams and credentials for them, does not run here"},
		{"NATS over HTTP", "nats:\n  url: http://nats.example.com\nbroker: {}\n", "line 2: nats.url: must be nats://"},
		{"a port of NATS too great", "nats: {url: \"nats://n:4222,nats://h:99999\"}\nbroker: {}\n", "line 1: nats.url: must be nats://HOST:PORT"},
		{"a port of NATS that is 0", "nats: {url: \"h:0\"}\nbroker: {}\n", "line 1: nats.url: must be nats://HOST:PORT"},
		{"data in a file", core + "data_dir: FILE\n", "line 3: data_dir: FILE is a file, and no directory"},
		{"data below a file", core + "data_dir: FILE/data\n", "line 3: data_dir: FILE/data lies below what is a file"},
		{"a public URL of NATS", "nats: {embedded: true, public_url: \"https://n\"}\nbroker: {}\n", "line 1: nats.public_url: must be"},
		{"no DSN", "nats: {embedded: true}\nbroker: {}\nclickhouse: {dsn: foo, reader_dsn: \"clickhouse://h/d\"}\nauditor: {}\n", "line 3: clickhouse.dsn: must be clickhouse://"},
		{"another database's DSN", "nats: {embedded: true}\nbroker: {}\nclickhouse: {dsn: \"clickhouse://h/d\", reader_dsn: \"mysql://u:secret@h/d\"}\nauditor: {}\n", "line 3: clickhouse.reader_dsn: must be clickhouse://"},
		{"a DSN over HTTPS that does not ask for TLS", "nats: {embedded: true}\nbroker: {}\nclickhouse: {dsn: \"https://u:secret@h:8443/d\", reader_dsn: \"clickhouse://h/d\"}\nauditor: {}\n", "line 3: clickhouse.dsn: must be clickhouse://USER:PASSWORD@HOST:9000/DATABASE, or over HTTP https://USER:PASSWORD@HOST:8443/DATABASE?secure=true"},
		{"an address that is a URL", "nats: {embedded: true}\nbroker:\n  public_addr: https://postern.example.com\n", "line 3: broker.public_addr: must be HOST:PORT"},
		{"an address without a port", "nats: {embedded: true}\nbroker: {proxy_addr: foo}\n", "broker.proxy_addr: must be HOST:PORT"},
		{"a name that is a URL", "nats: {embedded: true}\nbroker:\n  public_names:\n  - postern.example.com\n  - https://postern.example.com\n", "line 5: broker.public_names[1]: \"https://postern.example.com\" must be a host name or an address"},
		{"a name with a port", core + "proxy: {public_names: [\"postern.example.com:3081\"]}\n", "line 3: proxy.public_names[0]: \"postern.example.com:3081\" must be"},
		{"a name of letters that certificates lack", audits + "auditor: {public_names: [pöstern.example.com]}\n", "auditor.public_names[0]: \"pöstern.example.com\" must be"},
		{"join by a URL", alone + "proxy: {" + strings.Replace(joins, "b:3080", "https://b:3080", 1) + "}\n", "line 2: proxy.join.broker: must be the broker's HOST:PORT"},
		{"join without a port", alone + "proxy: {" + strings.Replace(joins, "b:3080", "b", 1) + "}\n", "proxy.join.broker: must be the broker's HOST:PORT"},
		{"join by two, of which one is none", alone + "proxy: {" + strings.Replace(joins, "b:3080", "b:3080,c", 1) + "}\n", "proxy.join.broker: must be the broker's HOST:PORT; several are separated by commas"},
		{"join by one and nothing", alone + "proxy: {" + strings.Replace(joins, "b:3080", "b:3080,", 1) + "}\n", "proxy.join.broker: must be the broker's HOST:PORT"},
		{"certificates that are not there", "nats: {embedded: true}\nbroker:\n  ec2_certificates:\n  - /nowhere.pem\n", "line 4: broker.ec2_certificates[0]: no such file: /nowhere.pem"},
		{"a key file that is not there", core + "proxy: {ticket_key_file: /nowhere}\n", "line 3: proxy.ticket_key_file: no such file"},
		{"a seed that is not there", "nats: {url: \"nats://n:4222\", account_seed_file: /nowhere}\nbroker: {}\n", "nats.account_seed_file: no such file"},
		{"a CA that is not there", "nats: {embedded: true}\nbroker: {aws: {ca_file: /nowhere}}\n", "broker.aws.ca_file: no such file"},
		{"a CA that is a directory", core + "proxy: {aws: {ca_file: /}}\n", "proxy.aws.ca_file: / is a directory"},
		{"a certificate that is not there", alone + "proxy: {tls: {cert_file: /nowhere, key_file: /nowhere, client_ca_file: /nowhere}}\n", "proxy.tls.cert_file: no such file"},
		{"no certificate", alone + "proxy:\n  tls: {}\n", "line 3: proxy.tls.cert_file: missing"},
		{"a negative wait", core + "proxy: {hold_for: -1s}\n", "line 3: proxy.hold_for: must not be negative"},
		{"negative memory", "nats: {embedded: true}\nbroker: {}\nclickhouse: {embedded: true, max_memory: -1}\nauditor: {}\n", "line 3: clickhouse.max_memory: must not be negative"},
		{"no action", core + "proxy: {record_parameters: [nonsense]}\n", "proxy.record_parameters: \"nonsense\" is not an IAM action"},
		{"a witness of nothing", audits + "auditor:\n  log:\n    witnesses:\n    - {url: nonsense, key: nonsense}\n", "line 7: auditor.log.witnesses[0]: \"nonsense\" is no URL"},
		{"a witness's key", audits + "auditor: {log: {witnesses: [{url: \"https://w.example.org\", key: nonsense}]}}\n", "auditor.log.witnesses[0]: "},
		{"no bucket", audits + "auditor: {log: {bucket: \"s3://\"}}\n", "auditor.log.bucket: must be s3://BUCKET"},
		{"a port that is another's default", "nats: {embedded: true}\nbroker: {}\nproxy: {listen: \"127.0.0.1:3080\"}\n", "line 3: proxy.listen: 127.0.0.1:3080 is taken by broker.listen"},
		{"certificates over before they begin", "nats: {embedded: true}\nbroker: {agent_ttl: -5h}\n", "broker.agent_ttl: must be 10s or more"},
		{"certificates nobody could renew", "nats: {embedded: true}\nbroker: {agent_ttl: 1ms}\n", "broker.agent_ttl: must be 10s or more"},
		{"a section without a value", "nats: {embedded: true}\nbroker:\n", "line 2: broker: has no value"},
		{"metrics without a value", core + "metrics:\n", "line 3: metrics: has no value"},
		{"locks without a value", core + "proxy:\n  aws:\n    lock_policy:\n", "line 5: proxy.aws.lock_policy: has no value"},
		{"no mapping at all", "- nats\n", "there is a list where a mapping of keys belongs"},
		{"a section that is text", core + "metrics: yes please\n", "line 3: metrics: there is \"yes please\" where a mapping of keys belongs"},
		{"a wrong kind, deep", "nats:\n  embedded: true\n  replicas: [3]\nbroker: {}\n", "line 3: nats.replicas: there is a list where a number belongs"},
		{"a wrong kind among several on a line", "nats: {embedded: true, replicas: many}\nbroker: {}\n", "line 1: nats.replicas: there is \"many\" where a number belongs"},
		{"no duration", core + "proxy:\n  max_silence: soon\n", "line 4: proxy.max_silence: there is \"soon\" where a duration such as 20m belongs"},
		{"an unknown key in a list", "nats: {embedded: true}\nbroker:\n  apps:\n  - name: a\n    aws: {acount_id: \"1\"}\n", "line 5: unknown key acount_id in broker.apps[0].aws"},
		{"an unknown section", core + "metrik: {}\n", "line 3: unknown key metrik at the top level"},
		{"the second app", "nats: {embedded: true}\nbroker:\n  apps:\n  - {name: a, aws: {account_id: \"123456789012\"}}\n  - {name: b, aws: {account_id: \"12\"}}\n", "line 5: broker.apps[1]: aws.account_id: not an AWS account id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "postern.yaml")
			c.text, c.want = strings.ReplaceAll(c.text, "FILE", file), strings.ReplaceAll(c.want, "FILE", file)
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := readConfig(file)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "main.") || strings.Contains(err.Error(), "secret")) {
				t.Errorf("it tells too much: %v", err)
			}
		})
	}
	for _, good := range []string{
		core, audits + "auditor: {}\nmetrics: {}\n", alone + "proxy: {" + joins + "}\n",
		alone + "proxy: {" + strings.Replace(joins, "b:3080", "b:3080, c:3080", 1) + "}\n",
		"nats: {embedded: true, listen: \"0.0.0.0:0\", public_url: \"tls://n.example.com:4222,tls://m.example.com:4222\"}\nbroker: {listen: \":3080\"}\nproxy: {listen: \"127.0.0.1:0\"}\n",
		"nats: {embedded: true}\nbroker: {}\nclickhouse: {dsn: \"https://u:p@h:8443/d?secure=true\", reader_dsn: \"http://u:p@h:8123/d\"}\nauditor: {}\n",
		core + "data_dir: /nowhere/yet\n", "nats: {url: \"n,nats://m,tls://[::1]:4222\"}\nbroker: {}\n",
		core + "proxy: {record_parameters: [\"iam:*\", \"@Write\"]}\n",
	} {
		file := filepath.Join(t.TempDir(), "postern.yaml")
		if err := os.WriteFile(file, []byte(good), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readConfig(file); err != nil {
			t.Errorf("%s\n%v", good, err)
		}
	}
}
