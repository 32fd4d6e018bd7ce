package resource

// Keys of Teleport's resources that say nothing about AWS access. They are
// accepted so that its files load, and reported. Names as in Teleport's
// reference (https://goteleport.com/docs/reference/access-controls/roles/ and
// …/reference/infrastructure-as-code/teleport-resources/).
var (
	teleportUser = []string{
		"created_by", "github_identities", "local_auth", "oidc_identities", "saml_identities", "status",
		"trusted_device_ids",
	}
	teleportApp = []string{
		"cors", "dynamic_labels", "insecure_skip_verify", "integration", "public_addr", "required_app_names",
		"rewrite", "tcp_ports", "use_any_proxy_public_addr", "user_groups",
	}
	teleportOptions = []string{
		"cert_extensions", "cert_format", "client_idle_timeout", "create_db_user", "create_db_user_mode",
		"create_desktop_user", "create_host_user", "create_host_user_default_shell", "create_host_user_mode",
		"desktop_clipboard", "desktop_directory_sharing", "device_trust_mode", "disconnect_expired_cert",
		"enhanced_recording", "forward_agent", "idp", "max_connections", "max_kubernetes_connections",
		"max_sessions", "mfa_verification_interval", "permit_x11_forwarding", "pin_source_ip",
		"port_forwarding", "record_session", "request_access", "request_prompt",
		"ssh_file_copy", "ssh_port_forwarding",
	}
	teleportOIDC = []string{
		"client_redirect_settings", "google_admin_email", "google_service_account", "google_service_account_uri",
		"max_age", "mfa", "pkce_mode", "provider", "request_object_mode", "user_matchers",
	}
	teleportSAML = []string{
		"client_redirect_settings", "include_subject", "mfa", "preferred_request_binding", "provider",
		"single_logout_url", "user_matchers",
	}
	teleportConditions = []string{
		"account_assignments", "azure_identities", "cluster_labels", "cluster_labels_expression", "db_labels",
		"db_labels_expression", "db_names", "db_permissions", "db_roles", "db_service_labels",
		"db_service_labels_expression", "db_users", "desktop_groups", "gcp_service_accounts",
		"github_permissions", "group_labels", "group_labels_expression", "host_groups", "host_sudoers",
		"impersonate", "join_sessions", "kubernetes_groups", "kubernetes_labels",
		"kubernetes_labels_expression", "kubernetes_resources", "kubernetes_users", "linux_desktop_labels",
		"linux_desktop_labels_expression", "logins", "mcp", "namespaces",
		"node_labels", "node_labels_expression", "require_session_join", "spiffe",
		"windows_desktop_labels", "windows_desktop_labels_expression", "windows_desktop_logins",
		"workload_identity_labels", "workload_identity_labels_expression",
	}
	teleportResources = []string{
		"access_monitoring_rule", "access_plugin_data", "access_request", "app_server",
		"audit_query", "auth_connector", "auth_server", "autoupdate_config", "autoupdate_version", "billing",
		"bot", "bot_instance", "cert_authority", "cluster_audit_config", "cluster_auth_preference",
		"cluster_config", "cluster_maintenance_config", "cluster_name", "cluster_networking_config",
		"connection_diagnostic", "crown_jewel", "database_certificate", "db", "db_server", "db_service",
		"device", "discovery_config", "download", "event", "git_server", "github", "host_cert", "instance",
		"integration", "kube_cluster", "kube_server", "kube_service", "license", "login_rule", "namespace",
		"network_restrictions", "node", "notification", "plugin", "proxy", "remote_cluster",
		"reverse_tunnel", "saml_idp_service_provider", "security_report", "semaphore", "server_info",
		"session_recording_config", "session_tracker", "spiffe_federation", "ssh_session",
		"static_host_user", "static_tokens", "token", "trusted_cluster", "tunnel_connection", "ui_config",
		"user_group", "user_login_state", "user_task", "vnet_config", "web_session", "web_token",
		"windows_desktop", "windows_desktop_service", "workload_identity",
	}
	teleportVerbs = []string{
		"create_enroll_token", "enroll", "readnosecrets", "rotate", "use",
	}
)
