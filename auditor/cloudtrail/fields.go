package cloudtrail

// field is a place in a record whose value postern reads; the fields of a shape
// and of the shapes in it stand together.
type field uint8

const (
	none field = iota
	eventVersion
	eventTime
	eventSource
	eventName
	awsRegion
	sourceIPAddress
	userAgent
	errorCode
	errorMessage
	requestID
	eventID
	eventType
	eventCategory
	recipientAccountID
	sharedEventID
	vpcEndpointID
	readOnly
	managementEvent
	fromConsole

	identityType
	principalID
	identityARN
	accountID
	accessKeyID
	userName
	invokedBy
	sourceIdentity
	issuerType
	issuerARN
	issuerUserName
	behalfUserID

	issuedAccessKeyID
	originalRequestID
	resourceARN
	resourceName

	fields
)

// shape is a JSON object, or a list of them, in which fields are.
type shape uint8

const (
	other shape = iota // nothing in it is read
	recordShape
	identityShape
	sessionShape
	issuerShape
	behalfShape
	responseShape
	credentialsShape
	addendumShape
	resourceList
	resourceItem
)

// shapes says which fields are in a shape.
var shapes = [...]struct{ first, last field }{
	recordShape:      {eventVersion, resourceName},
	identityShape:    {identityType, behalfUserID},
	sessionShape:     {sourceIdentity, issuerUserName},
	issuerShape:      {issuerType, issuerUserName},
	behalfShape:      {behalfUserID, behalfUserID},
	responseShape:    {issuedAccessKeyID, issuedAccessKeyID},
	credentialsShape: {issuedAccessKeyID, issuedAccessKeyID},
	addendumShape:    {originalRequestID, originalRequestID},
	resourceList:     {resourceARN, resourceName},
	resourceItem:     {resourceARN, resourceName},
}

// lookup says what a key of a shape holds.
func lookup(sh shape, key []byte) (field, shape) {
	switch sh {
	case recordShape:
		switch string(key) {
		case "eventVersion":
			return eventVersion, other
		case "eventTime":
			return eventTime, other
		case "eventSource":
			return eventSource, other
		case "eventName":
			return eventName, other
		case "awsRegion":
			return awsRegion, other
		case "sourceIPAddress":
			return sourceIPAddress, other
		case "userAgent":
			return userAgent, other
		case "errorCode":
			return errorCode, other
		case "errorMessage":
			return errorMessage, other
		case "requestID":
			return requestID, other
		case "eventID":
			return eventID, other
		case "eventType":
			return eventType, other
		case "eventCategory":
			return eventCategory, other
		case "recipientAccountId":
			return recipientAccountID, other
		case "sharedEventID":
			return sharedEventID, other
		case "vpcEndpointId":
			return vpcEndpointID, other
		case "readOnly":
			return readOnly, other
		case "managementEvent":
			return managementEvent, other
		case "sessionCredentialFromConsole":
			return fromConsole, other
		case "userIdentity":
			return none, identityShape
		case "responseElements":
			return none, responseShape
		case "addendum":
			return none, addendumShape
		case "resources":
			return none, resourceList
		}
	case identityShape:
		switch string(key) {
		case "type":
			return identityType, other
		case "principalId":
			return principalID, other
		case "arn":
			return identityARN, other
		case "accountId":
			return accountID, other
		case "accessKeyId":
			return accessKeyID, other
		case "userName":
			return userName, other
		case "invokedBy":
			return invokedBy, other
		case "sessionContext":
			return none, sessionShape
		case "onBehalfOf":
			return none, behalfShape
		}
	case sessionShape:
		switch string(key) {
		case "sourceIdentity":
			return sourceIdentity, other
		case "sessionIssuer":
			return none, issuerShape
		}
	case issuerShape:
		switch string(key) {
		case "type":
			return issuerType, other
		case "arn":
			return issuerARN, other
		case "userName":
			return issuerUserName, other
		}
	case behalfShape:
		if string(key) == "userId" {
			return behalfUserID, other
		}
	case responseShape:
		if string(key) == "credentials" {
			return none, credentialsShape
		}
	case credentialsShape:
		if string(key) == "accessKeyId" {
			return issuedAccessKeyID, other
		}
	case addendumShape:
		if string(key) == "originalRequestID" {
			return originalRequestID, other
		}
	case resourceItem:
		switch string(key) {
		case "ARN", "arn":
			return resourceARN, other
		case "resourceName":
			return resourceName, other
		}
	}
	return none, other
}
