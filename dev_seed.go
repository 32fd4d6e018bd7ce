package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/posternhq/postern/broker/access"
	"github.com/posternhq/postern/deploy/simaws"
	"github.com/posternhq/postern/proxy/awsreq"
)

// startSim runs the simulated AWS and makes it the AWS of this process: the
// proxy finds its credentials where it would find real ones.
func (s *services) startSim(ctx context.Context, dir string) (*simaws.Sim, error) {
	s.stack = newStack(s.log)
	table, err := awsreq.New()
	if err != nil {
		return nil, err
	}
	sim, err := simaws.New(simaws.Config{
		Dir: filepath.Join(dir, "aws-sim"), KeepPending: true, DataEvents: []string{"arn:aws:s3", "arn:aws:dynamodb"},
		OperationOf: func(r *http.Request) string { return operationOf(table, r) },
		Log:         s.log.With().Str("service", "aws-sim").Logger(),
	})
	if err != nil {
		return nil, err
	}
	if err := s.stack.start(ctx, "aws-sim", sim); err != nil {
		return nil, err
	}
	creds, err := seedSim(sim)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "aws-sim", "credentials")
	if err := writePrivateBytes(file, creds); err != nil {
		return nil, err
	}
	// Nothing of the user's own AWS goes before them, or leads elsewhere.
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			if err := os.Unsetenv(name); err != nil {
				return nil, err
			}
		}
	}
	return sim, errors.Join(os.Setenv("AWS_SHARED_CREDENTIALS_FILE", file), os.Setenv("AWS_CONFIG_FILE", os.DevNull))
}

// operationOf names the operation that a request asks for, for what the
// simulated AWS has no more of than the name.
func operationOf(table *awsreq.Table, r *http.Request) string {
	host, err := table.ParseHost(r.Host)
	if err != nil {
		return ""
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	return table.Lookup(&awsreq.Input{Method: r.Method, Host: &host, Path: path, RawQuery: query, Header: r.Header}).Operation
}

// seedSim makes what the demo needs in the simulated AWS and returns the
// credentials file of the proxy's own principal.
func seedSim(sim *simaws.Sim) ([]byte, error) {
	key, err := sim.AccessKey(devAccount, "postern-proxy")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"PosternEngineer", "PosternReadOnly"} {
		err := sim.PutRole(simaws.Role{
			ARN: "arn:aws:iam::" + devAccount + ":role/" + name,
			TrustPolicy: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + devAccount +
				`:user/postern-proxy"},"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`,
			MaxSessionDuration: 12 * time.Hour,
		})
		if err != nil {
			return nil, err
		}
	}
	// A trail that says what CloudTrail's records are to be expected of.
	bucket := simaws.Bucket{Account: devAccount, Region: "us-east-1", Name: devTrailBucket}
	if err := sim.PutBucket(bucket); err != nil {
		return nil, err
	}
	if err := sim.PutTrail(simaws.Trail{
		Account: devAccount, HomeRegion: "us-east-1", Name: "postern-dev", Bucket: devTrailBucket, MultiRegion: true, Digests: true,
		Selectors: `[{"Name":"management","FieldSelectors":[{"Field":"eventCategory","Equals":["Management"]}]},` +
			`{"Name":"objects","FieldSelectors":[{"Field":"eventCategory","Equals":["Data"]},{"Field":"resources.type","Equals":["AWS::S3::Object"]},` +
			`{"Field":"resources.ARN","NotStartsWith":["arn:aws:s3:::` + devTrailBucket + `/"]}]},` +
			`{"Name":"tables","FieldSelectors":[{"Field":"eventCategory","Equals":["Data"]},{"Field":"resources.type","Equals":["AWS::DynamoDB::Table"]}]}]`,
	}); err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", key.ID, key.Secret), nil
}

// seed makes the demo users, roles and app, and their identity files.
func (s *services) seed(ctx context.Context, account string, out *ready) error {
	if _, err := os.Stat(out.PasswordsFile); errors.Is(err, fs.ErrNotExist) { // the first start here
		t, err := template.New("dev-seed.yaml").Option("missingkey=error").Parse(devSeed)
		if err != nil {
			return err
		}
		var doc bytes.Buffer
		if err := t.Execute(&doc, map[string]string{"Account": account}); err != nil {
			return err
		}
		if _, err := s.broker.Apply(ctx, "postern dev", doc.Bytes()); err != nil {
			return err
		}
	}
	if err := os.WriteFile(out.CAFile, s.broker.CAPEM(), 0o644); err != nil {
		return err
	}
	passwords, err := readPasswords(out.PasswordsFile)
	if err != nil {
		return err
	}
	anew, err := s.reinstate(ctx, "postern dev")
	if err != nil {
		return err
	}
	if anew {
		delete(passwords, "admin") // it was of one who may have been removed
	}
	for _, user := range []string{"admin", "alice", "bob"} {
		file := filepath.Join(s.cfg.DataDir, "identities", user+".pem")
		switch err := s.writeIdentity(ctx, user, file); {
		case user != "admin" && errors.As(err, new(*access.Error)): // locked, disabled or removed since
			s.log.Warn().Msgf("%v: left out", err)
			continue
		case err != nil:
			return err
		}
		out.Identities[user] = file
		if passwords[user] == "" {
			passwords[user] = rand.Text()
			if err := s.broker.SetPassword(ctx, "postern dev", user, passwords[user]); err != nil {
				return err
			}
		}
	}
	return writePrivate(out.PasswordsFile, passwords)
}

// readPasswords reads the demo users' passwords of an earlier start.
func readPasswords(path string) (map[string]string, error) {
	m := map[string]string{}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}
