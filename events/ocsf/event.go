package ocsf

import "encoding/json"

// event is the part of OCSF's classes that postern fills in. Times are in
// milliseconds since 1970.
type event struct {
	ActivityID   int    `json:"activity_id"`
	ActivityName string `json:"activity_name,omitempty"`
	CategoryUID  int    `json:"category_uid"`
	ClassUID     int    `json:"class_uid"`
	TypeUID      int    `json:"type_uid"`
	SeverityID   int    `json:"severity_id"`
	Time         int64  `json:"time"`
	Message      string `json:"message,omitempty"`
	StatusID     int    `json:"status_id,omitempty"`
	Status       string `json:"status,omitempty"`
	StatusCode   string `json:"status_code,omitempty"`
	StatusDetail string `json:"status_detail,omitempty"`
	ActionID     int    `json:"action_id,omitempty"`
	Duration     int64  `json:"duration,omitempty"`

	Metadata metadata `json:"metadata"`
	Cloud    *cloud   `json:"cloud,omitempty"`
	Actor    *actor   `json:"actor,omitempty"`
	User     *user    `json:"user,omitempty"`
	Session  *session `json:"session,omitempty"`

	API          *api          `json:"api,omitempty"`
	SrcEndpoint  *endpoint     `json:"src_endpoint,omitempty"`
	DstEndpoint  *endpoint     `json:"dst_endpoint,omitempty"`
	HTTPRequest  *httpRequest  `json:"http_request,omitempty"`
	HTTPResponse *httpResponse `json:"http_response,omitempty"`
	Resources    []named       `json:"resources,omitempty"`
	Policy       *named        `json:"policy,omitempty"`

	Service        *named   `json:"service,omitempty"`
	AuthProtocolID int      `json:"auth_protocol_id,omitempty"`
	AuthProtocol   string   `json:"auth_protocol,omitempty"`
	IsMFA          *bool    `json:"is_mfa,omitempty"`
	Privileges     []string `json:"privileges,omitempty"`

	FindingInfo *findingInfo `json:"finding_info,omitempty"`
	IsAlert     bool         `json:"is_alert,omitempty"`

	RawDataHash *fingerprint    `json:"raw_data_hash,omitempty"`
	Unmapped    json.RawMessage `json:"unmapped,omitempty"`
}

type metadata struct {
	Version        string   `json:"version"`
	Product        product  `json:"product"`
	UID            string   `json:"uid"`
	EventCode      string   `json:"event_code"`
	CorrelationUID string   `json:"correlation_uid,omitempty"`
	LogName        string   `json:"log_name,omitempty"`
	LogProvider    string   `json:"log_provider,omitempty"`
	Sequence       uint64   `json:"sequence,omitempty"`
	Profiles       []string `json:"profiles,omitempty"`

	OriginalEventUID string `json:"original_event_uid,omitempty"`
	LogSource        string `json:"log_source,omitempty"`
	LoggedTime       int64  `json:"logged_time,omitempty"`
	LoggedTimeDT     string `json:"logged_time_dt,omitempty"`
}

type fingerprint struct {
	AlgorithmID int    `json:"algorithm_id"`
	Algorithm   string `json:"algorithm"`
	Value       string `json:"value"`
}

type product struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
}

type named struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
	Type string `json:"type,omitempty"`
}

type cloud struct {
	Provider  string `json:"provider"`
	Partition string `json:"cloud_partition,omitempty"`
	Region    string `json:"region,omitempty"`
	Account   *named `json:"account,omitempty"`
}

type user struct {
	Name          string `json:"name,omitempty"`
	UID           string `json:"uid,omitempty"`
	Type          string `json:"type,omitempty"`
	CredentialUID string `json:"credential_uid,omitempty"`
	Account       *named `json:"account,omitempty"`
}

type session struct {
	UID              string `json:"uid,omitempty"`
	CreatedTime      int64  `json:"created_time,omitempty"`
	ExpirationTime   int64  `json:"expiration_time,omitempty"`
	ExpirationReason string `json:"expiration_reason,omitempty"`
	Issuer           string `json:"issuer,omitempty"`
	CredentialUID    string `json:"credential_uid,omitempty"`
}

type actor struct {
	User      *user    `json:"user,omitempty"`
	Session   *session `json:"session,omitempty"`
	AppName   string   `json:"app_name,omitempty"`
	InvokedBy string   `json:"invoked_by,omitempty"`
}

type api struct {
	Operation string    `json:"operation"`
	Service   *named    `json:"service,omitempty"`
	Request   *named    `json:"request,omitempty"`
	Response  *response `json:"response,omitempty"`
}

type response struct {
	Code  int    `json:"code,omitempty"`
	Error string `json:"error,omitempty"`
}

type endpoint struct {
	IP       string `json:"ip,omitempty"`
	Port     int    `json:"port,omitempty"`
	Name     string `json:"name,omitempty"`
	Hostname string `json:"hostname,omitempty"`
}

type httpRequest struct {
	Method     string `json:"http_method,omitempty"`
	UserAgent  string `json:"user_agent,omitempty"`
	URL        *url   `json:"url,omitempty"`
	BodyLength int64  `json:"body_length,omitempty"`
}

type url struct {
	Scheme   string `json:"scheme,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	Path     string `json:"path"`
}

type httpResponse struct {
	Code       int   `json:"code"`
	BodyLength int64 `json:"body_length,omitempty"`
	Latency    int64 `json:"latency,omitempty"`
}

type findingInfo struct {
	UID           string         `json:"uid"`
	Title         string         `json:"title,omitempty"`
	Types         []string       `json:"types,omitempty"`
	CreatedTime   int64          `json:"created_time,omitempty"`
	RelatedEvents []relatedEvent `json:"related_events,omitempty"`
}

type relatedEvent struct {
	UID  string `json:"uid"`
	Type string `json:"type,omitempty"`
}
