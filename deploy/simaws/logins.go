package simaws

import (
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DatabaseLogin is what RDS does with the password of a user who signs in by IAM:
// it returns the ARN of who signed the token, or why it is not let in.
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
func (s *Sim) DatabaseLogin(token, user string) (arn string, err error) {
	u, err := url.Parse("https://" + token)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	if q := u.Query(); q.Get("Action") != "connect" || q.Get("DBUser") != user {
		return "", errors.New("token is not for this user")
	}
	labels := strings.Split(u.Hostname(), ".")
	if len(labels) < 5 {
		return "", fmt.Errorf("%s is no database", u.Host)
	}
	region := labels[len(labels)-4]
	c := &call{at: s.now(), proto: protoQuery, path: "/", query: u.RawQuery, bodyHash: sha256Hex(nil),
		r:  &http.Request{Method: http.MethodGet, Host: u.Host, URL: u, Header: http.Header{}, RemoteAddr: "127.0.0.1:1"},
		ep: endpoint{kind: hostAPI, service: "rds-db", region: region, partition: partitionOf(region, "aws")}}
	if c.params, err = parseParams(u.RawQuery); err != nil {
		return "", err
	}
	if fail := s.authenticate(c); fail != nil {
		return "", fail
	}
	return c.who.arn(), c.authorize("rds-db:connect", "arn:aws:rds-db:"+region+":"+c.who.account+":dbuser:db-SIM/"+user)
}

// GitLogin is what CodeCommit does with what Git sends: it returns the ARN of who
// signed the password, or why it is not let in. Passwords hold for 15 minutes.
func (s *Sim) GitLogin(host, path, username, password string) (arn string, err error) {
	const form = "20060102T150405"
	key, token, _ := strings.Cut(username, "%")
	if len(password) != len(form)+1+64 || password[len(form)] != 'Z' {
		return "", errors.New("password is malformed")
	}
	at, err := time.Parse(form, password[:len(form)])
	if err != nil {
		return "", err
	}
	if age := s.now().Sub(at); age > maxSkew || age < -maxSkew {
		return "", fmt.Errorf("password is of %s", at)
	}
	region := strings.Split(host, ".")[1]
	c := &call{at: s.now(), proto: protoRESTJSON, r: &http.Request{RemoteAddr: "127.0.0.1:1"},
		ep: endpoint{kind: hostAPI, service: "codecommit", region: region, partition: partitionOf(region, "aws")}}
	who, fail := s.resolve(c, &signature{accessKey: key, token: token})
	if fail != nil {
		return "", fail
	}
	if who.temporary() && !c.at.Before(who.expires) {
		return "", errTokenExpired
	}
	date := at.Format("20060102")
	text := algorithm + "\n" + at.Format(form) + "\n" + date + "/" + region + "/codecommit/aws4_request\n" +
		sha256Hex([]byte("GIT\n"+path+"\n\nhost:"+host+"\n\nhost\n"))
	given, err := hex.DecodeString(password[len(form)+1:])
	if err != nil || !hmac.Equal(given, hmacSHA256(signingKey(who.secret, date, region, "codecommit"), text)) {
		return "", errors.New("signature does not match")
	}
	c.who = who
	repo := path[strings.LastIndexByte(path, '/')+1:]
	return who.arn(), c.authorize("codecommit:GitPull", "arn:aws:codecommit:"+region+":"+who.account+":"+repo)
}

// Cluster is an EKS cluster: where its API is, and its CA in PEM.
type Cluster struct{ Name, Endpoint, CAData string }

// PutCluster makes DescribeCluster answer for a cluster in every account and
// region. It is forgotten when the Sim ends.
func (s *Sim) PutCluster(c Cluster) { s.clusters.Store(c.Name, c) }

// serveEKS: https://docs.aws.amazon.com/eks/latest/APIReference/API_DescribeCluster.html
func (s *Sim) serveEKS(c *call) error {
	name, ok := strings.CutPrefix(c.path, "/clusters/")
	if !ok || c.r.Method != http.MethodGet || strings.Contains(name, "/") {
		return s.serveUnknown(c)
	}
	c.event.source, c.event.readOnly = "eks.amazonaws.com", true
	c.event.nameIt("DescribeCluster")
	c.event.request = map[string]any{"name": name}
	arn := "arn:" + c.ep.partition + ":eks:" + c.ep.region + ":" + c.who.account + ":cluster/" + name
	if err := c.authorize("eks:DescribeCluster", arn); err != nil {
		return err
	}
	v, ok := s.clusters.Load(name)
	if !ok {
		return failure(http.StatusNotFound, "ResourceNotFoundException", "No cluster found for name: "+name+".")
	}
	cluster := v.(Cluster)
	body, err := json.Marshal(map[string]any{"cluster": map[string]any{
		"name": name, "arn": arn, "status": "ACTIVE", "endpoint": cluster.Endpoint,
		"certificateAuthority": map[string]string{"data": cluster.CAData},
	}})
	if err != nil {
		return err
	}
	c.answer(http.StatusOK, "application/json", body)
	return nil
}
