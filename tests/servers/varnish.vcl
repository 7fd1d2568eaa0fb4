# Stands in for a CDN: keeps what Cache-Control lets it keep, and forgets by surrogate key.
vcl 4.1;
import std;

backend default {
    .host = "@HOST@";
    .port = "@PORT@";
}

acl neighbours {
    "127.0.0.1";
}

sub vcl_recv {
    if (req.method == "PING") {
        return (synth(200, "@NAME@"));
    }
    if (req.method == "PURGE") {
        if (client.ip !~ neighbours) {
            return (synth(405, "Not for you"));
        }
        if (!req.http.Surrogate-Key) {
            return (synth(400, "No Surrogate-Key"));
        }
        # Keys are words between spaces, and no patterns
        set req.http.Pattern = regsuball(req.http.Surrogate-Key, "[^A-Za-z0-9 _-]", "\\\0");
        set req.http.Pattern = regsuball(req.http.Pattern, " +", "|");
        if (!std.ban("obj.http.Surrogate-Key ~ (^|\s)(" + req.http.Pattern + ")(\s|$)")) {
            return (synth(500, std.ban_error()));
        }
        return (synth(200, "Purged"));
    }
}

sub vcl_deliver {
    # For caches, not for browsers
    unset resp.http.Surrogate-Key;
}
