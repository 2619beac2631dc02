import gc

gc.disable()  # until the apps are ready: what is imported stays, and looking through it again and again takes a while
