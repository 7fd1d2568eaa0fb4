# Varnish before Colonnade: public pages are kept as their headers say, and purged by surrogate key.
# colonnade up grocer.system:grocer --purge http://127.0.0.1:6081
vcl 4.1;

backend default {
    .host = "127.0.0.1";
    .port = "8000";
}

acl services {
    "localhost";
}

sub vcl_recv {
    if (req.method == "PURGE") {
        if (client.ip !~ services) {
            return (synth(403));
        }
        if (req.http.surrogate-key !~ "^[\w.-]+( [\w.-]+)*$") {
            return (synth(400));
        }
        # a.b c.d becomes (a\.b|c\.d)
        ban("obj.http.surrogate-key ~ (^|\s)("
            + regsuball(regsuball(req.http.surrogate-key, "\.", "\\."), " ", "|") + ")(\s|$)");
        return (synth(200));
    }
}

sub vcl_deliver {
    # Told to caches, not to clients
    unset resp.http.surrogate-key;
}
