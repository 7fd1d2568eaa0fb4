"""Tables that change while two versions of the code use them: expand, deploy, contract."""
