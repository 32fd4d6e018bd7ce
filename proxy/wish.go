package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/posternhq/postern/events"
	"github.com/posternhq/postern/proxy/awsreq"
	"github.com/posternhq/postern/proxy/grants"
	"github.com/posternhq/postern/proxy/sigv4"
)

// wish is a signature that somebody asks for, understood.
type wish struct {
	req  *http.Request
	auth *sigv4.Authorization
	call grants.Call
	// fixed: it is good for tokenLife from its time, whatever it says.
	fixed bool
	git   bool
	// level is the highest of the actions' levels; empty where it is call's.
	level string
}

var (
	clusterForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$`)
	gitHost     = regexp.MustCompile(`^git-codecommit(-fips)?\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?$`)
	gitPath     = regexp.MustCompile(`^/v1/repos/([\w.-]{1,100})$`)
	databaseURL = regexp.MustCompile(`^[a-z0-9.-]+\.rds\.amazonaws\.com(\.cn)?:[0-9]{1,5}$`)
)

// understand reads what is to be signed. It takes nothing that could be a
// signature for something else.
func (c *call) understand(in *tokenRequest) (*wish, error) {
	u, err := url.Parse(in.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("url is not an https URL")
	}
	r := &http.Request{Method: http.MethodGet, Host: u.Host, URL: u, RequestURI: u.RequestURI(), Header: http.Header{}}
	w := &wish{req: r}
	if in.Kind == events.CredentialCodeCommit {
		return w, c.understandGit(w, u)
	}
	if in.Kind == events.CredentialEKS {
		if !clusterForm.MatchString(in.Cluster) {
			return nil, fmt.Errorf("%q is not the name of a cluster", in.Cluster)
		}
		r.Header["X-K8s-Aws-Id"] = []string{in.Cluster}
	}
	if w.auth, err = sigv4.Parse(r); err != nil {
		return nil, err
	}
	if !w.auth.Presigned {
		return nil, errors.New("url is not presigned")
	}
	if x := c.p.issuedFor(c.ctx, w.auth); x != nil && x.session == c.id {
		c.issued = x
	} else if w.auth.SessionToken != "" {
		return nil, fmt.Errorf("access key %s is not of credentials that postern gave you, or they are no longer known", w.auth.AccessKeyID)
	}
	switch in.Kind {
	case events.CredentialEKS:
		return w, c.understandEKS(w, in.Cluster)
	case events.CredentialRDS:
		return w, c.understandRDS(w)
	case events.CredentialURL:
		return w, c.understandURL(w)
	}
	return nil, fmt.Errorf("kind %q is not known", in.Kind)
}

// understandEKS: a token is a presigned GetCallerIdentity that names the cluster
// (https://github.com/kubernetes-sigs/aws-iam-authenticator, "API Authorization from Outside a Cluster").
func (c *call) understandEKS(w *wish, cluster string) error {
	host, err := c.p.table.ParseHost(w.req.Host)
	if err != nil || host.SigningName != "sts" || w.auth.Service != "sts" || w.req.URL.EscapedPath() != "/" {
		return errors.New("an EKS token is a presigned URL of STS")
	}
	if !onlyQuery(w.req.URL, map[string]string{"Action": "GetCallerIdentity", "Version": "2011-06-15"}) || !slices.Contains(w.auth.SignedHeaders, "x-k8s-aws-id") {
		return errors.New("an EKS token is a presigned GetCallerIdentity that covers x-k8s-aws-id")
	}
	w.fixed = true
	c.host = host
	w.call = grants.Call{Action: "eks:AccessKubernetesApi", AccessLevel: "Read", Region: w.auth.Region,
		Resources: []string{"eks", "cluster/" + cluster}}
	return nil
}

// understandRDS: https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html
func (c *call) understandRDS(w *wish) error {
	user := w.req.URL.Query().Get("DBUser")
	if !databaseURL.MatchString(w.req.Host) || w.auth.Service != "rds-db" || w.req.URL.EscapedPath() != "/" || user == "" || strings.Contains(user, "/") ||
		!onlyQuery(w.req.URL, map[string]string{"Action": "connect", "DBUser": user}) {
		return errors.New("an RDS token is a presigned connect of rds-db, to HOST.rds.amazonaws.com:PORT")
	}
	w.fixed = true
	// The resource id of the database does not show: only patterns that take any
	// match.
	w.call = grants.Call{Action: "rds-db:connect", AccessLevel: "Permissions management", Region: w.auth.Region,
		Resources: []string{"rds-db", "dbuser:*/" + user}}
	return nil
}

// understandGit: the same signature pulls and pushes, so both have to be allowed.
func (c *call) understandGit(w *wish, u *url.URL) error {
	host, path := gitHost.FindStringSubmatch(u.Hostname()), gitPath.FindStringSubmatch(u.EscapedPath())
	if host == nil || path == nil || u.RawQuery != "" {
		return errors.New("a CodeCommit repository is https://git-codecommit.REGION.amazonaws.com/v1/repos/NAME (git config credential.UseHttpPath true makes Git name it)")
	}
	w.fixed, w.git = true, true
	w.call = grants.Call{Action: "codecommit:GitPush", Also: []grants.Action{{Name: "codecommit:GitPull", Level: "Read"}}, AccessLevel: "Write", Region: host[2],
		Resources: []string{"codecommit", path[1]}}
	return nil
}

// understandURL: a presigned URL of S3 is the request that it makes.
func (c *call) understandURL(w *wish) error {
	host, err := c.p.table.ParseHost(w.req.Host)
	if err != nil || host.S3 == awsreq.NotS3 {
		return errors.New("only URLs of S3 are presigned anew")
	}
	rec := c.p.table.Recognize(&awsreq.Input{
		Method: w.req.Method, Host: &host, Path: w.req.URL.EscapedPath(), RawQuery: w.req.URL.RawQuery, Header: w.req.Header,
		SigningName: w.auth.Service, SigningRegion: w.auth.Region,
	})
	if rec.Ambiguous || !rec.ActionKnown {
		return errors.New("postern cannot tell what the URL does")
	}
	if rec.Operation == "CreateSession" {
		return errors.New("the URL would hand out credentials")
	}
	c.host, c.about.Operation = host, rec.Operation
	w.call = c.p.asked(&rec)
	w.level = string(rec.Strongest())
	return nil
}

// onlyQuery tells whether the query has just these parameters besides the
// signature's.
func onlyQuery(u *url.URL, want map[string]string) bool {
	left := len(want)
	for name, v := range u.Query() {
		if strings.HasPrefix(name, "X-Amz-") {
			continue
		}
		if len(v) != 1 || v[0] != want[name] {
			return false
		}
		left--
	}
	return left == 0
}

// name fills in who and what the wish is about, now that the session is known.
func (c *call) name(w *wish) {
	a := &c.about
	if w.call.Resources != nil && !strings.HasPrefix(w.call.Resources[0], "arn:") {
		w.call.Resources = []string{"arn:" + cmp.Or(c.session.Partition, "aws") + ":" + w.call.Resources[0] + ":" + w.call.Region + ":" + a.Account + ":" + w.call.Resources[1]}
	}
	service, operation, _ := strings.Cut(w.call.Action, ":")
	a.Service, a.Operation = service, cmp.Or(a.Operation, operation)
	a.Partition, a.Region, a.Action, a.AccessLevel, a.Resources = c.session.Partition, w.call.Region, w.call.Action, cmp.Or(w.level, w.call.AccessLevel), w.call.Resources
	for _, also := range w.call.Also {
		a.Also = append(a.Also, also.Name)
	}
	if w.auth != nil {
		a.SigningName = w.auth.Service
	}
	a.Method, a.Host, a.Path = w.req.Method, w.req.Host, w.req.URL.EscapedPath()
	if w.git {
		a.Method, a.SigningName = "GIT", "codecommit"
	}
}
